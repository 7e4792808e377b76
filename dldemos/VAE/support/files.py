"""Atomic writes (a file is there whole, or as it was), and names that any terminal can print."""
import glob
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

WORK_DIR = 'work_dirs'       # where pictures and runs go, unless another folder is given
WEIGHTS = 'dldemos/VAE/model.pth'    # and weights
WEIGHT_SUFFIXES = ('.pth', '.pt', '.ckpt', '.bin')
ABANDONED_SECONDS = 600      # what is written to at work is younger
UMASK = os.umask(0)          # it can only be read by setting it
os.umask(UMASK)


@contextmanager
def atomic_write(path, mode='wb'):
    """Open a temporary file that takes the name `path` when the block ends well.

    Until then, and for ever if the block fails or the process is killed, a file
    that was at `path` before stays as it was. Missing folders are made.

        with atomic_write('work_dirs/log.csv', 'w') as file:
            file.write(text)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = {} if 'b' in mode else {'encoding': 'utf-8', 'errors': 'backslashreplace'}
    file = tempfile.NamedTemporaryFile(mode, dir=path.parent, prefix=temporary_prefix(path),  # noqa: SIM115
                                       suffix='.tmp', delete=False, **encoding)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o666 & ~UMASK)       # a temporary file starts as its owner's alone
        os.replace(file.name, path)
    finally:
        Path(file.name).unlink(missing_ok=True)


def beside_weights(path, ending):
    """The file that lies beside a file of weights: a.json for a.pth, kl0.001.json for kl0.001."""
    path = Path(path)
    name = path.stem if path.suffix in WEIGHT_SUFFIXES else path.name
    return path.with_name(name + ending)


def sha256(path):
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def temporary_prefix(path):
    """How the names of the temporary files of `path` begin; they lie beside it."""
    return f'.{Path(path).name[:100]}.'


def remove_abandoned(path):
    """Remove temporary files and folders of `path` that a killed process left behind."""
    for temporary in Path(path).parent.glob(glob.escape(temporary_prefix(path)) + '*.tmp'):
        try:
            if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        except FileNotFoundError:             # its process has just ended
            continue


def printable(text):
    """The text on one line, with what is no printable character escaped."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape', 'surrogatepass').decode()
                   for c in str(text))
