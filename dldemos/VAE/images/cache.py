"""Images decoded once: a source of pictures -> one file of pixels, mapped into memory.

Decoding a JPEG costs about as much time as a training step costs a GPU, and the article's
program does it again for every image in every epoch. Here the first use of a source
decodes, crops and resizes all of it into one file beside it; later uses map that file.

The file: the pixels, uint8 (N, 3, height, width), the looks of the images, uint8 (N, 64), both in
the order of the source, then a JSON object that says what they were made from and which row is
whose, and its length in 8 bytes. It gets its name when it is complete. Of folders and zips it may
hold the first images by name, which were asked for.
"""
import errno
import functools
import hashlib
import inspect
import json
import os
import sys
import tempfile
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from tqdm import tqdm

from dldemos.VAE.images.lists import own_partition
from dldemos.VAE.images.looks import N_VALUES, SIDE
from dldemos.VAE.images.sources import HEIC_SUFFIXES, find_source, open_images, readable
from dldemos.VAE.support.errors import WHAT_TO_DO, UserError
from dldemos.VAE.support.files import atomic_write, printable, remove_abandoned

ORIENTED = {'exif', 'xmp', 'XML:com.adobe.xmp', 'Raw profile type exif'}
FORMAT = 'pixels 5'          # a new number here rebuilds every cache
IN_NAME_ORDER = ('folder', 'zip')    # sources of which the first images can be read alone
CHUNK = 8                    # images that a thread decodes in one go
NEEDS_HEIF = '`pip install pillow-heif`, and it is read'
ARCHIVES = ('.zip', '.tar', '.tar.gz', '.tgz')
ELSEWHERE = 'data'           # folder of caches whose source lies where nothing can be written
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 2**20     # image generators write some megabytes of text


def cached_images(root, img_shape, crop, cache_dir, n_images, transform):
    """The decoded images of `root`, a folder, a zip, a tar, Parquet shards or a picture.

    The cache is made anew when a name, a size or a modification time of the source, the crop
    or the shape has changed; an unchanged source is recognised without opening an image.

    Args:
        img_shape, crop, cache_dir, n_images: see CelebADataset, load_celebA.py. Of folders and zips
            no more than n_images are decoded.
        transform: that of load_celebA: RGB image, img_shape, crop -> uint8 (3, *img_shape).

    Returns:
        The path of the cache, and its metadata, among it: names of the N images in order,
        relative to `root`; rows, where each lies in the cache; size, [width, height] of all, or
        None; partition, that of an archive's own list or of shards' names, or None.

    Raises:
        UserError: nothing at `root`, or no source of images; no image in it, more than one in
            ten that cannot be read; no place for the cache.
    """
    if crop not in ('auto', 'face') and not (isinstance(crop, int) and crop > 0):
        raise UserError(f'crop must be auto, face or a number of pixels, not {crop!r}')
    source = find_source(root)
    key = source_key(source, img_shape, crop, transform)
    limit = sys.maxsize if n_images is None or source.kind not in IN_NAME_ORDER else n_images
    name = f'{img_shape[0]}x{img_shape[1]}.crop{crop}.cache'
    candidates = places(root, name, cache_dir)
    for path in candidates:
        about = read_about(path)
        if is_current(about, key, limit):
            break
    else:
        path = candidates[0]
        if not cache_dir and not can_write(path.parent):
            path = candidates[1]
            print(printable(f'nothing can be written beside {root}: its decoded images go to '
                            f'{path} (--cache_dir names another folder)'))
        try:
            about = build(path, source, key, limit,
                          functools.partial(decode, img_shape, crop, transform))
        except OSError as error:
            if error.errno not in WHAT_TO_DO:
                raise
            raise UserError(f'the decoded images of {root} cannot be written to {path.parent} '
                            f'({error}): {WHAT_TO_DO[error.errno]}, or put them elsewhere with '
                            f'--cache_dir') from error
    if about['left_out']:
        print(f'left out of {printable(root)}: {"; ".join(about["left_out"])}')
    if about['unreadable']:
        print(printable(unreadable_images(root, path, about)))
    return path, about


def places(root, name, cache_dir):
    """Where a cache may lie: in cache_dir, or beside the source, else in data/."""
    root = Path(os.path.abspath(root))
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    base = root.name if len(os.fsencode(root.name)) < 150 else root.name[:40] + digest
    apart = Path(cache_dir or ELSEWHERE) / f'{base}.{digest}.{name}'
    return [apart] if cache_dir else [root.parent / f'{base}.{name}', apart]


def can_write(folder):
    """Whether files may be made in a folder, by making one."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        return error.errno not in NOT_WRITABLE     # what else is wrong there is told with the cache


def source_key(source, img_shape, crop, transform):
    """A hash of all that the pixels depend on; of an archive, its own size and time will do."""
    try:                                       # a cache is made anew when its lines are edited
        lines = inspect.getsource(transform)
    except (TypeError, OSError):
        lines = getattr(transform, '__name__', repr(transform))
    digest = hashlib.sha256(f'{FORMAT} {tuple(img_shape)} {crop}\n{lines}\n'.encode())
    for name, size, modified in source.files:
        digest.update(f'{name}\0{size}\0{modified}\n'.encode(errors='surrogateescape'))
    return digest.hexdigest()


def is_current(about, key, limit):
    """Whether a cache is of this source as it is, and lacks no image that is needed."""
    if about is None or about['key'] != key or about['limit'] < limit:
        return False
    lacks_heif = any(NEEDS_HEIF in reason for reason in about['unreadable'])
    return not (lacks_heif and 'HEIF' in readable()[1])


def read_about(path):
    """The metadata of a cache, or None: there is none, or it is not whole."""
    try:
        with open(path, 'rb') as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(max(0, total - 8))
            n_bytes = total - 8 - int.from_bytes(file.read(8), 'little')
            if n_bytes < 0:
                return None
            file.seek(n_bytes)
            about = json.loads(file.read()[:-8])
            return about if about['n_bytes'] == n_bytes else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):     # the tail is not ours: a damaged file
        return None


def map_cache(path, n_images, img_shape):
    """The rows of a cache as read-only arrays on disk: pixels (N, 3, height, width), looks (N, 64).

    n_images: N, all that the cache has.
    """
    pixels = np.memmap(path, np.uint8, mode='r', shape=(n_images, 3, *img_shape))
    return pixels, np.memmap(path, np.uint8, mode='r', shape=(n_images, N_VALUES),
                             offset=pixels.nbytes)


def build(path, source, key, limit, decode):
    """Decode the images of a source into a new cache at `path`, on all cores.

    Args:
        limit: how many are needed at most, the first that can be read.
        decode: the content of an image -> the bytes of its pixels, its look, its size.

    Returns:
        Its metadata.
    """
    remove_abandoned(path)
    entries, notes = open_images(source)
    names, looks, sizes, unreadable = [], [], set(), []
    total = notes['total'] and min(limit, notes['total'])
    bar = tqdm(total=total, unit='image', desc='decoding once', disable=None)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool, atomic_write(path) as file, \
            warnings.catch_warnings():
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        n_before = -1
        while n_before < len(names) + len(unreadable) and len(names) < limit:
            n_before = len(names) + len(unreadable)
            for name, result in in_turn(pool, decode, islice(entries, limit - len(names))):
                bar.update()
                if isinstance(result, Exception):
                    unreadable.append(f'{name} ({reason(name, result)})')
                else:
                    pixels, its_look, size = result
                    file.write(pixels)
                    names.append(name)
                    looks.append(its_look)
                    sizes.add(size)
        file.write(b''.join(looks))
        rows = sorted(range(len(names)), key=names.__getitem__)
        names.sort()
        about = {'key': key, 'limit': limit, 'n_bytes': file.tell(), 'names': names, 'rows': rows,
                 'size': sizes.pop() if len(sizes) == 1 else None,
                 'partition': own_partition(notes, names), 'unreadable': sorted(unreadable),
                 'left_out': source.left_out}
        check_enough(source.root, path, about)
        tail = json.dumps(about).encode()
        file.write(tail + len(tail).to_bytes(8, 'little'))
    return about


def in_turn(pool, decode, entries):
    """Decode the entries of open_images in a pool, a few at a time, which bounds the memory.

    Yields:
        The name of each, in order, and what `decode` returns or the exception that it raises.

    Raises:
        UserError: something is not installed that the crop needs.
    """
    def decode_some(chunk):
        results = []
        for name, content in chunk:
            try:
                results.append((name, decode(content)))
            except UserError:
                raise
            except Exception as error:       # a damaged image can fail in any way
                results.append((name, error))
        return results

    waiting = deque()
    for chunk in iter(lambda: list(islice(entries, CHUNK)), []):
        waiting.append(pool.submit(decode_some, chunk))
        if len(waiting) > 2 * os.cpu_count():
            yield from waiting.popleft().result()
    for chunk in waiting:
        yield from chunk.result()


def reason(name, error):
    """Why an image cannot be read, in words."""
    if name.lower().endswith(HEIC_SUFFIXES) and 'HEIF' not in readable()[1]:
        return NEEDS_HEIF
    return str(error) or type(error).__name__


def decode(img_shape, crop, transform, content):
    """The content of an image, see open_images, upright and in RGB, transformed.

    Of several frames it is the first; transparent pixels lie on white.

    Returns:
        The bytes of its pixels (3, height, width), its look, and its (width, height).
    """
    if isinstance(content, Exception):
        raise content
    file = content if isinstance(content, Path) else BytesIO(content)
    with Image.open(file, formats=readable()[1]) as image:
        image.load()
        if not ORIENTED.isdisjoint(image.info):
            image = ImageOps.exif_transpose(image)
        image = to_rgb(image)
        return transform(image, img_shape, crop).tobytes(), look(image), image.size


def look(image):
    """The look of an upright RGB image, N_VALUES bytes; see images/looks.py."""
    factor = max(1, min(image.size) // (8 * SIDE))       # which takes less time for large ones
    small = image.reduce(factor).convert('L')
    return small.resize((SIDE, SIDE), Image.Resampling.HAMMING,
                        (0, 0, image.width / factor, image.height / factor)).tobytes()


def to_rgb(image):
    """RGB of an image of any mode, what is transparent on white."""
    if image.mode.startswith(('I', 'F')):
        image = eight_bits(image)
    if image.mode == 'LAB':                 # the one mode that convert does not know
        image = ImageCms.profileToProfile(image, ImageCms.createProfile('LAB'),
                                          ImageCms.createProfile('sRGB'), outputMode='RGB')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return image if image.mode == 'RGB' else image.convert('RGB')


def eight_bits(image):
    """An image of integers or floats of any range -> 8 bits, from its least value to its most.

    What is in a file may be 10, 12 or 16 bits or 0 to 1, and does not say which: only the
    values do. One that is the same everywhere is taken by the range of its type.
    """
    values = np.asarray(image, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 1)
    if low == high:
        low, high = 0, (1 if image.mode.startswith('F') else 65535)
    values = np.interp(np.nan_to_num(values, nan=low), (low, high), (0, 255))
    return Image.fromarray(values.round().astype(np.uint8))


def check_enough(root, path, about):
    """See that enough could be read; the list of all that could not goes beside the cache.

    Raises:
        UserError: no image at all, or more than one in ten that cannot be read.
    """
    n, n_bad = len(about['names']), len(about['unreadable'])
    everything = path.with_suffix('.unreadable.txt')
    if n_bad:
        with atomic_write(everything, 'w') as file:
            file.write('\n'.join(map(printable, about['unreadable'])) + '\n')
    else:
        everything.unlink(missing_ok=True)
    if not n + n_bad:
        for file in sorted(root.glob('*')):
            if file.name.lower().endswith(ARCHIVES):
                raise UserError(f'there is no image in {root}: it holds {file.name}, which is a '
                                f'source itself: --data_root {file}')
        raise UserError(f'there is no image in {root}: it should hold JPEG, PNG, WebP, TIFF or '
                        f'other pictures, in subfolders or not')
    if not n or n_bad > max(1, (n + n_bad) / 10):
        raise UserError(f'{unreadable_images(root, path, about)}; that is too many to go on: mend '
                        f'or remove them')


def unreadable_images(root, path, about):
    """The sentence on the images that could not be read."""
    bad = about['unreadable']
    first = ', '.join(bad[:3]) + (', ...' if len(bad) > 3 else '')
    return (f'{len(bad)} of {len(bad) + len(about["names"])} images in {root} cannot be read '
            f'and are left out (all in {path.with_suffix(".unreadable.txt")}): {first}')
