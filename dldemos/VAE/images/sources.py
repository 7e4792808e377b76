"""Where images come from: a folder, a zip, a tar, Parquet shards or a picture, all read alike.

`find_source` says what lies at a path, `open_images` goes through its images, one at a time.
Nothing is unpacked to the disk. A file that is something else is named for what it is.
"""
import contextlib
import functools
import itertools
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import printable

# What Pillow lists and does not decode by itself (stubs, Ghostscript), and films
NO_PICTURES = {'BUFR', 'EPS', 'FLI', 'GRIB', 'HDF5', 'IPTC', 'MPEG', 'PDF', 'WMF'}
HEIC_SUFFIXES = ('.heic', '.heif', '.hif')
LIST_SUFFIXES = ('.txt', '.csv')
LARGEST = 256 * 2**20        # bytes that an entry of an archive may unpack to
PARTS = (('train', 0), ('val', 1), ('test', 2))    # how shards' names begin; CelebA's numbers
OF_THIS_PROGRAM = ('tmp.jpg', '.run.lock')         # what tells a work_dir from a folder of images
BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error,
                  lzma.LZMAError, ValueError)      # pyarrow's errors are the last
WHAT_IT_IS = (               # how files begin, in small letters; what they are, and what to do
    ((b'<!doctype html', b'<html'),
     'a web page (HTML), as Google Drive sends one in place of a file when its quota is used up: '
     'data/README.md says where else to get CelebA'),
    ((b'version https://git-lfs',),
     'a Git LFS pointer, not the file itself: fetch that with `git lfs pull`, or as '
     'data/README.md says'),
    ((b'7z\xbc\xaf', b'rar!'), 'a 7z or RAR archive: unpack it, and give the folder'),
    ((b'\x1f\x8b', b'bzh', b'\xfd7zxz', b'\x28\xb5\x2f\xfd'),
     'a compressed file with no tar in it that can be read: download it again, or unpack it and '
     'give the folder'),
    ((b'',), 'no picture, zip, tar or Parquet that can be read: give one of these or a folder; '
     'data/README.md says where to get CelebA'))


class Source(NamedTuple):
    """What lies at a path.

    kind: folder, zip, tar or parquet; a single picture is a folder of one.
    folder: the one that the names of a folder's images and of shards are relative to.
    files: (name, size, modification time) of what lies on the disk: the images of a folder,
        the shards, the archive itself.
    left_out: what in a folder is not read, in words.
    """

    root: Path
    kind: str
    folder: Path
    files: list
    left_out: tuple = ()


@functools.cache
def readable():
    """(suffixes of images, formats that the installed Pillow reads), HEIC with pillow-heif."""
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener
        register_heif_opener()
    Image.preinit()                  # the common formats, to be tried before all others
    Image.init()
    formats = tuple(name for name in Image.OPEN if name not in NO_PICTURES)
    suffixes = tuple(suffix for suffix, name in Image.registered_extensions().items()
                     if name in formats or name == 'MPO')           # JPEG's reader opens MPO
    return suffixes + HEIC_SUFFIXES, formats


def is_image(name):
    """Whether a file's name is one of an image; hidden files are none."""
    base = os.path.basename(name).lower()
    return base.endswith(readable()[0]) and not base.startswith('.')


def is_list(name):
    """Whether a file's name is one of CelebA's lists, or of one like them."""
    return (os.path.basename(name).startswith(('list_attr', 'list_eval_partition'))
            and name.lower().endswith(LIST_SUFFIXES))


def find_source(root):
    """The Source at a path.

    Raises:
        UserError: nothing at `root`, or a file that is no source of images.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f'there is nothing at {root}: give a folder, a zip, a tar or Parquet '
                        f'shards of images')
    if root.is_dir():
        return folder_source(root)
    if not root.is_file():
        raise UserError(f'{root} is a device or a pipe, which cannot be read twice: give a file or '
                        f'a folder')
    return Source(root, kind_of_file(root), root.parent, on_disk(root.parent, [root.name]))


def folder_source(root):
    left_out = []
    names = sorted(names_in(root, left_out))
    images = on_disk(root, filter(is_image, names))
    shards = on_disk(root, [name for name in names if name.endswith('.parquet')])
    if shards and not images:
        return Source(root, 'parquet', root, shards, left_out)
    if shards:
        left_out.append(f'{len(shards):,} Parquet shards, since there are pictures beside them: '
                        f'give --data_root the folder of either')
    return Source(root, 'folder', root, images, left_out)


def names_in(root, left_out):
    """The files in a folder and its subfolders, as paths from `root`, each folder once.

    Links are followed. Not read are hidden ones, and subfolders that this program drew into, which
    left_out gets.
    """
    seen = set(root.resolve().parents)          # a link to where the root lies would be a loop
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        folder, real = Path(folder).relative_to(root), Path(folder).resolve()
        prefix = '' if folder == Path() else f'{folder.as_posix()}/'
        drawn = prefix and not set(OF_THIS_PROGRAM).isdisjoint([*subfolders, *names])
        if drawn:
            left_out.append(f'{printable(prefix)} with pictures that this program drew (it holds '
                            f'{" or ".join(OF_THIS_PROGRAM)})')
        if drawn or real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        yield from (prefix + name for name in names if not name.startswith('.'))


def refuse(error):
    raise error


def on_disk(folder, names):
    """(name, size, modification time) of each file in a folder, no pipes and devices; a link that
    leads nowhere has size 0."""
    files = []
    for name in names:
        try:
            status = os.stat(os.path.join(folder, name))
        except OSError:
            files.append((name, 0, 0))
            continue
        if stat.S_ISREG(status.st_mode):
            files.append((name, status.st_size, status.st_mtime_ns))
    return files


def kind_of_file(path):
    """zip, tar, parquet, or folder for a picture: by what the file begins with.

    Raises:
        UserError: it is none of them, and what it is.
    """
    with open(path, 'rb') as file:
        head = file.read(4096)
    if head.startswith(b'PK'):
        return 'zip'
    if head.startswith(b'PAR1'):
        return 'parquet'
    if not head:
        raise UserError(f'{path} is empty: download it again, see data/README.md')
    if tarfile.is_tarfile(path):
        return 'tar'
    if not is_image(path.name):
        try:
            Image.open(path, formats=readable()[1]).close()
        except Exception as error:          # whatever a plugin says of a file that is not its own
            start = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
            what = next(what for starts, what in WHAT_IT_IS if start.startswith(starts))
            raise UserError(f'{path} is {what}') from error
    return 'folder'


def open_images(source):
    """Go through the images of a source, in whatever order it has them.

    Returns:
        An iterator of (name, content): the image's path, its bytes, or an exception that says why
        there are none; and notes, a dict that is complete when the iterator has ended: total
        (number of images; None: not known), lists ({name: text} of CelebA's lists in an archive),
        parts ({name: 0, 1 or 2} by the names of shards).

    Raises:
        UserError: a damaged archive, at once or on the way; no pyarrow for Parquet.
    """
    notes = {'total': len(source.files), 'lists': {}, 'parts': {}}
    return OPENERS[source.kind](source, notes), notes


def folder_images(source, notes):
    return ((name, source.folder / name) for name, _, _ in source.files)


@contextlib.contextmanager
def unbroken(path):
    """Where an archive is read: what shows that it is damaged becomes a sentence."""
    try:
        yield
    except PermissionError:
        raise
    except BROKEN_ARCHIVE as error:
        raise UserError(f'{path} cannot be read to its end ({error}): download it again, or give '
                        f'the folder of the images') from error


def zip_images(source, notes):
    with unbroken(source.root):
        archive = zipfile.ZipFile(source.root)
        for info in archive.infolist():
            if is_list(info.filename) and info.file_size < LARGEST:
                text = archive.read(info).decode(errors='surrogateescape')
                notes['lists'][info.filename] = text
    names = sorted(set(filter(is_image, archive.namelist())))     # a folder's ends with a slash
    notes['total'] = len(names)
    return ((name, read_entry(archive, archive.getinfo(name))) for name in names)


def read_entry(archive, info):
    if info.file_size > LARGEST:
        return too_large(info.file_size)
    try:
        return archive.read(info)
    except Exception as error:              # of one entry: the others can be read
        return error


def too_large(size):
    return ValueError(f'unpacks to {size / 2**20:,.0f} MB, more than {LARGEST / 2**20:,.0f} MB')


def tar_images(source, notes):
    """One pass over a tar, compressed or not, in the order of its entries."""
    notes['total'], seen = None, set()
    with unbroken(source.root), tarfile.open(source.root) as archive:
        for member in iter(archive.next, None):
            archive.members = []                        # it would keep every one
            name = member.name.removeprefix('./')
            if is_list(name) and member.isreg() and member.size < LARGEST:
                text = archive.extractfile(member).read()
                notes['lists'][name] = text.decode(errors='surrogateescape')
            elif is_image(name) and name not in seen and not member.isdir():
                seen.add(name)
                yield name, read_member(archive, member)


def read_member(archive, member):
    if not member.isreg():
        return ValueError('a link inside a tar')
    if member.size > LARGEST:
        return too_large(member.size)
    return archive.extractfile(member).read()


def parquet_images(source, notes):
    names, shards = parquet_names(source)
    notes['total'] = len(names)
    notes['parts'] = {name: part for name, shard in zip(names, shards) for word, part in PARTS
                      if os.path.basename(shard).lower().startswith(word)}
    rows = (row['image'] for _, batch in parquet_batches(source, ['image'], 64)
            for row in batch.to_pylist())
    return ((name, bytes_of(row)) for name, row in zip(names, rows))


def bytes_of(row):
    data = row.get('bytes') if isinstance(row, dict) else row
    return data or ValueError('no bytes of an image in its row')


def parquet_names(source):
    """The names of the images, and the shard that each lies in.

    They are the paths that stand beside the bytes, as Hugging Face's CelebA has them. Where
    some are missing or stand twice: the shard's name and the number of the row.
    """
    rows = [(shard, row.get('image') or {}) for shard, batch
            in parquet_batches(source, ['image.path']) for row in batch.to_pylist()]
    shards = [shard for shard, _ in rows]
    names = [image.get('path') for _, image in rows]
    if None in names or len(set(names)) < len(names):
        numbers = defaultdict(itertools.count)
        names = [f'{shard.removesuffix(".parquet")}/{next(numbers[shard]):06}' for shard in shards]
    return names, shards


def parquet_batches(source, columns=None, n_rows=2**16):
    """(shard, pyarrow's RecordBatch) of all rows, n_rows in memory at once.

    columns: their names; None: all but the images.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError(f'{source.root} is of Parquet, which pyarrow reads: `pip install pyarrow`, '
                        f'or give a folder or a zip of images') from error
    for shard, _, _ in source.files:
        path = source.folder / shard
        kind_of_file(path)                  # which says so if it is a web page, a pointer ...
        with unbroken(path):
            file = ParquetFile(path)
            others = [name for name in file.schema_arrow.names if name != 'image']
            if len(others) == len(file.schema_arrow.names):
                raise UserError(f'{path} has no column "image" (but {", ".join(others[:5])}): give '
                                f'shards that have one')
            for batch in file.iter_batches(n_rows, columns=columns or others):
                yield shard, batch


OPENERS = {'folder': folder_images, 'zip': zip_images, 'tar': tar_images,
           'parquet': parquet_images}
