"""Files that are written whole or not at all."""
import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path, mode='wb'):
    """Open a temporary file that takes the name `path` when the block ends well.

    Until then, and for ever if the block fails or the process is killed, a file
    that was at `path` before stays as it was. Missing folders are made.

        with whole_file('work_dirs/log.csv', 'w') as file:
            file.write(text)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    encoding = None if 'b' in mode else 'utf-8'
    try:
        with open(temporary, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
