"""Where images come from: a folder, a zip, a tar, Parquet shards or a picture, all read alike.

`find_source` says what lies at a path, `open_images` goes through its images, one at a time.
Nothing is unpacked to the disk. A file that is something else is named for what it is.
"""
import contextlib
import functools
import lzma
import os
import tarfile
import zipfile
import zlib
from io import BytesIO
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
BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error,
                  lzma.LZMAError, ValueError)          # pyarrow's errors are also ValueErrors


class Source(NamedTuple):
    """What lies at a path.

    kind: folder, zip, tar or parquet; a single picture is a folder of one.
    folder: the one that the names of a folder's images and of shards are relative to.
    files: (name, size, modification time) of what lies on the disk: the images of a folder,
        the shards, the archive itself.
    passed_over: HEIC files that need pillow-heif, so far as they are known.
    left_out: what else in a folder is not read, in words.
    """

    root: Path
    kind: str
    folder: Path
    files: list
    passed_over: int = 0
    left_out: tuple = ()


OF_THIS_PROGRAM = ('tmp.jpg', '.run.lock')     # what tells a work_dir from a folder of images


@functools.cache
def readable():
    """(suffixes, formats) that the installed Pillow reads, HEIC where pillow-heif is there."""
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener
        register_heif_opener()
    Image.preinit()                  # the common formats, to be tried before all others
    Image.init()
    formats = tuple(name for name in Image.OPEN if name not in NO_PICTURES)
    return tuple(suffix for suffix, name in Image.registered_extensions().items()
                 if name in formats or name == 'MPO'), formats      # JPEG's reader opens MPO


def is_image(name):
    """Whether a file's name is one of an image that can be read; hidden files are none."""
    base = os.path.basename(name)
    return base.lower().endswith(readable()[0]) and not base.startswith('.')


def is_passed_over(name):
    """Whether a file's name is one of a HEIC image that needs pillow-heif."""
    base = os.path.basename(name)
    return (base.lower().endswith(HEIC_SUFFIXES) and not base.startswith('.')
            and not is_image(name))


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
        images, shards, passed_over, work_dirs = list_folder(root)
        left_out = [f'{printable(name)} with pictures that this program drew (it holds '
                    f'{" or ".join(OF_THIS_PROGRAM)})' for name in work_dirs]
        if shards and not images:
            return Source(root, 'parquet', root, shards, 0, left_out)
        if shards:
            left_out.append(f'{len(shards):,} Parquet shards, since there are pictures beside '
                            f'them: give --data_root the folder of either')
        return Source(root, 'folder', root, images, passed_over, left_out)
    if not root.is_file():
        raise UserError(f'{root} is a device or a pipe, which cannot be read twice: give a file or '
                        f'a folder')
    status = root.stat()
    kind = kind_of_file(root)
    return Source(root, kind, root.parent, [(root.name, status.st_size, status.st_mtime_ns)])


def list_folder(root):
    """The files in a folder and in its subfolders, links to folders followed once each.

    Returns:
        images, Parquet shards: (name relative to root, size, modification time) of each, in
        name order; the number of HEIC files that cannot be read; and the subfolders that are
        not read, for this program drew into them. A link that leads nowhere has size 0.
    """
    images, shards, passed_over, work_dirs = [], [], 0, []
    folders, links, seen = [''], [], set()
    while folders or links:                 # a folder has its own name where it has one
        prefix = folders.pop() if folders else links.pop(links.index(min(links)))
        real = os.path.realpath(os.path.join(root, prefix))
        if real in seen:
            continue
        seen.add(real)
        if prefix and any(os.path.lexists(os.path.join(real, name)) for name in OF_THIS_PROGRAM):
            work_dirs.append(prefix)        # its own pictures are no data
            continue
        with os.scandir(os.path.join(root, prefix)) as entries:
            for entry in entries:
                name, what = prefix + entry.name, kind_of_entry(entry)
                if entry.name.startswith('.') or what == 'other':
                    continue
                if what == 'folder':
                    if not entry.is_symlink():
                        folders.append(name + '/')
                    elif not leads_out_of(entry.path, root):
                        links.append(name + '/')
                elif is_image(name) or name.endswith('.parquet'):
                    status = entry.stat() if what == 'file' else None
                    (images if is_image(name) else shards).append(
                        (name, status.st_size, status.st_mtime_ns) if status else (name, 0, 0))
                else:
                    passed_over += is_passed_over(name)
    return sorted(images), sorted(shards), passed_over, sorted(work_dirs)


def kind_of_entry(entry):
    """folder, file, nowhere (a link that leads there) or other (a pipe, a device)."""
    try:
        if entry.is_dir():
            return 'folder'
        if entry.is_file():
            return 'file'
        return 'nowhere' if entry.is_symlink() else 'other'
    except OSError:                         # a link that leads to itself
        return 'nowhere'


def leads_out_of(link, root):
    """Whether a link leads to a folder that `root` lies in: a loop."""
    target, root = os.path.realpath(link), os.path.realpath(root)
    return root == target or root.startswith(target.rstrip(os.sep) + os.sep)


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
    if is_image(path.name) or opens_as_picture(path):
        return 'folder'
    raise UserError(f'{path} is {what_it_is(head)}')


def opens_as_picture(path):
    try:
        with Image.open(path, formats=readable()[1]):
            return True
    except Exception:                       # whatever a plugin says of a file that is not its own
        return False


def what_it_is(head):
    """What a file that is no source of images begins like, and what to do."""
    start = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if start.startswith((b'<!doctype html', b'<html')):
        return ('a web page (HTML), as Google Drive sends one in place of a file when its quota is '
                'used up: data/README.md says where else to get CelebA')
    if start.startswith(b'version https://git-lfs'):
        return ('a Git LFS pointer, not the file itself: fetch that with `git lfs pull`, or as '
                'data/README.md says')
    if head.startswith((b'7z\xbc\xaf', b'Rar!')):
        return 'a 7z or RAR archive: unpack it, and give the folder'
    if head.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ', b'\x28\xb5\x2f\xfd')):
        return ('a compressed file with no tar in it that can be read: download it again, or '
                'unpack it and give the folder')
    if tells_heic(head):
        return 'a HEIC picture: `pip install pillow-heif`, and it is read'
    kind = 'no text' if b'\0' in head else 'a text file'
    if head.startswith(b'%PDF'):
        kind = 'a PDF'
    return (f'{kind}, and none of a picture, a zip, a tar or Parquet: give one of these or a '
            f'folder; data/README.md says where to get CelebA')


def tells_heic(head):
    return head[4:8] == b'ftyp' and head[8:12] in (b'heic', b'heix', b'mif1', b'heim', b'hevc')


def open_images(source):
    """Go through the images of a source, in whatever order it has them.

    Returns:
        An iterator of (name, size, read): the image's name, the bytes it holds in memory until
        it is read, and a function that gives what Image.open takes, or says why there is
        none; and notes, a dict that is complete when the iterator has ended: total (number of
        images; None: not known), passed_over, lists ({name: text} of CelebA's lists in an
        archive), parts ({name: 0, 1 or 2} by the names of shards).

    Raises:
        UserError: a damaged archive, at once or on the way; no pyarrow for Parquet.
    """
    notes = {'total': len(source.files), 'passed_over': source.passed_over, 'lists': {},
             'parts': {}}
    return OPENERS[source.kind](source, notes), notes


def folder_images(source, notes):
    return ((name, 0, functools.partial(Path, source.folder, name))
            for name, _, _ in source.files)


def zip_images(source, notes):
    archive, lists = open_zip(source.root)
    entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    names = sorted(filter(is_image, entries))
    notes.update(total=len(names), passed_over=sum(map(is_passed_over, entries)),
                 lists=lists)
    return ((name, 0, functools.partial(read_entry, archive, entries[name])) for name in names)


def open_zip(root):
    """An open zip, and {name: text} of the lists in it."""
    with told_if_damaged(root):
        archive = zipfile.ZipFile(root)
        return archive, {info.filename: archive.read(info).decode(errors='surrogateescape')
                         for info in archive.infolist()
                         if is_list(info.filename) and info.file_size < LARGEST}


def read_entry(archive, info):
    if info.file_size > LARGEST:
        refuse_size(info.file_size)
    return BytesIO(archive.read(info))


def refuse_size(size):
    raise ValueError(f'unpacks to {size / 2**20:,.0f} MB, more than {LARGEST / 2**20:,.0f} MB')


def is_list(name, words=('list_attr', 'list_eval_partition')):
    """Whether a file's name is one of CelebA's lists, or of one like them."""
    return os.path.basename(name).startswith(words) and name.lower().endswith(LIST_SUFFIXES)


def tar_images(source, notes):
    """One pass over a tar, compressed or not, in the order of its entries."""
    notes['total'], seen = None, set()
    with told_if_damaged(source.root), tarfile.open(source.root) as archive:
        while member := archive.next():
            archive.members = []                    # it would keep every one
            name = member.name.removeprefix('./')
            notes['passed_over'] += is_passed_over(name)
            if is_list(name) and member.isreg() and member.size < LARGEST:
                text = archive.extractfile(member).read()
                notes['lists'][name] = text.decode(errors='surrogateescape')
            elif is_image(name) and name not in seen and not member.isdir():
                seen.add(name)
                yield name, *read_member(archive, member)


def read_member(archive, member):
    """(size, read) of an entry of a tar."""
    if not member.isreg():
        return 0, functools.partial(refuse, 'a link inside a tar')
    if member.size > LARGEST:
        return 0, functools.partial(refuse_size, member.size)
    return member.size, functools.partial(BytesIO, archive.extractfile(member).read())


def refuse(reason):
    raise ValueError(reason)


def parquet_images(source, notes):
    names = parquet_names(source)
    notes['total'] = sum(map(len, names))
    for (shard, _, _), its_names in zip(source.files, names):
        for word, part in PARTS:
            if os.path.basename(shard).lower().startswith(word):
                notes['parts'].update(dict.fromkeys(its_names, part))
    return parquet_rows(source, names)


def parquet_rows(source, names):
    for (shard, _, _), its_names in zip(source.files, names):
        for name, value in zip(its_names, parquet_column(source.folder / shard, 'image')):
            data = value.get('bytes') if isinstance(value, dict) else value
            if not data:
                yield name, 0, functools.partial(refuse, 'no bytes of an image in its row')
            elif len(data) > LARGEST:
                yield name, 0, functools.partial(refuse_size, len(data))
            else:
                yield name, len(data), functools.partial(BytesIO, data)


def parquet_names(source):
    """For each shard the names of its images.

    They are the paths that stand beside the bytes, as Hugging Face's CelebA has them. Where
    some are missing or stand twice: the shard's name and the number of the row.
    """
    names = []
    for shard, _, _ in source.files:
        path = source.folder / shard
        file = open_parquet(path)
        if 'image' not in file.schema_arrow.names:
            raise UserError(f'{path} has no column "image" (but '
                            f'{", ".join(file.schema_arrow.names[:5])}): give shards that have one')
        kind = file.schema_arrow.field('image').type
        if 'path' in [kind.field(i).name for i in range(kind.num_fields)]:
            names.append([row and row['path'] for row in parquet_column(path, 'image.path')])
        else:
            names.append([None] * file.metadata.num_rows)
    flat = sum(names, [])
    if None not in flat and len(set(flat)) == len(flat):
        return names
    return [[f'{shard.removesuffix(".parquet")}/{row:06}' for row in range(len(some))]
            for (shard, _, _), some in zip(source.files, names)]


def open_parquet(path):
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError(f'{path} is a Parquet file, which pyarrow reads: `pip install pyarrow`, or '
                        f'give a folder or a zip of images') from error
    with open(path, 'rb') as file:
        head = file.read(4096)
    if not head.startswith(b'PAR1'):
        raise UserError(f'{path} is {what_it_is(head)}')
    with told_if_damaged(path):
        return ParquetFile(path)


def parquet_column(path, column):
    """The values of a column, row by row, a few of them in memory at once."""
    file = open_parquet(path)
    with told_if_damaged(path):
        for batch in file.iter_batches(batch_size=64, columns=[column]):
            yield from batch.column(0).to_pylist()


@contextlib.contextmanager
def told_if_damaged(path):
    """UserError in place of what zipfile, tarfile and pyarrow say of a damaged file."""
    try:
        yield
    except PermissionError:
        raise
    except BROKEN_ARCHIVE as error:
        raise UserError(f'{path} cannot be read to its end ({error}): download it again, or give '
                        f'the folder of the images') from error


OPENERS = {'folder': folder_images, 'zip': zip_images, 'tar': tar_images,
           'parquet': parquet_images}
