"""Images decoded once: a folder or a zip of pictures -> one file of pixels, mapped into memory.

Decoding a JPEG costs about as much time as a training step costs a GPU, and the article's
program does it again for every image in every epoch. Here the first use of a folder or zip
decodes, crops and resizes all of it into one file beside it; later uses map that file.

The file: the pixels, uint8 (N, 3, side, side), then a JSON object that says what they were
made from, then the length of that JSON in 8 bytes. It gets its name when it is complete.
"""
import glob
import hashlib
import json
import os
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import atomic_write, printable, temporary_prefix

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
ORIENTED = ('exif', 'xmp', 'XML:com.adobe.xmp', 'Raw profile type exif')
FORMAT = 'pixels 1'          # a new number here rebuilds every cache
CHUNK = 32                   # images that a thread decodes in one go
ABANDONED_SECONDS = 600      # a temporary file left alone for so long has lost its process


def cached_images(root, img_shape=(64, 64), crop=168, cache_dir=None):
    """The decoded images of `root`, a folder (with its subfolders) or a zip.

    The cache is rebuilt when a name, a size or a modification time of the source, the crop
    or the shape has changed; an unchanged source is recognised without opening an image.

    Args:
        crop: side in pixels of the middle square that is cut out, or the largest there is.
        cache_dir: folder of the cache; None: the folder that `root` lies in.

    Returns:
        The path of the cache, and the names of its N images in order, relative to `root`.

    Raises:
        UserError: nothing at `root`, a damaged zip, no image in it, or more than one in a
            hundred that cannot be read.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f'there is nothing at {root}: give a folder or a zip of images')
    height, width = img_shape
    folder = Path(cache_dir) if cache_dir else root.absolute().parent
    path = folder / f'{root.absolute().name}.{height}x{width}.crop{crop}.cache'
    remove_abandoned(path)

    sources = list_folder(root) if root.is_dir() else None
    key = source_key(root, sources, img_shape, crop)
    about = read_about(path)
    if about is None or about['key'] != key:
        build(path, root, sources, key, img_shape, crop)
        about = read_about(path)
    if about['unreadable']:
        print(printable(left_out(root, about)))
    return path, about['names']


def map_pixels(path, n_images, img_shape):
    """The pixels of a cache as a read-only array, uint8 (N, 3, height, width), on disk."""
    return np.memmap(path, np.uint8, mode='r', shape=(n_images, 3, *img_shape))


def list_folder(root):
    """(name relative to root, size, modification time) of every image file, in name order."""
    found = []
    folders = ['']
    while folders:
        prefix = folders.pop()
        with os.scandir(os.path.join(root, prefix)) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.name.startswith('.'):
                    continue
                if entry.name.lower().endswith(IMAGE_SUFFIXES):
                    if entry.is_file():
                        status = entry.stat()
                        found.append((name, status.st_size, status.st_mtime_ns))
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name + '/')
    return sorted(found)


def list_zip(archive):
    """Names of the image files in an open zip, in name order."""
    return sorted(name for name in archive.namelist()
                  if name.lower().endswith(IMAGE_SUFFIXES)
                  and not os.path.basename(name).startswith('.'))


def source_key(root, sources, img_shape, crop):
    """A hash of all that the pixels depend on; of a zip, its own size and time will do."""
    digest = hashlib.sha256(f'{FORMAT} {tuple(img_shape)} {crop}\n'.encode())
    if sources is None:
        status = root.stat()
        sources = [(root.name, status.st_size, status.st_mtime_ns)]
    for name, size, modified in sources:
        digest.update(f'{name}\0{size}\0{modified}\n'.encode(errors='surrogateescape'))
    return digest.hexdigest()


def read_about(path):
    """What a cache says of itself, or None: there is none, or it is not whole."""
    try:
        with open(path, 'rb') as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(max(0, total - 8))
            length = int.from_bytes(file.read(8), 'little')
            if length + 8 > total:
                return None
            file.seek(total - 8 - length)
            about = json.loads(file.read(length))
        pixels = len(about['names']) * about['bytes_per_image']
        return about if pixels + length + 8 == total else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):     # the tail is not ours: a damaged file
        return None


def build(path, root, sources, key, img_shape, crop):
    """Decode every image of `root` into a new cache at `path`, on all cores."""
    if sources is None:
        try:
            with zipfile.ZipFile(root) as archive:
                names = list_zip(archive)
        except PermissionError:
            raise
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise UserError(f'{root} is no zip that can be read ({error}): download it again, '
                            f'or give the folder of the images') from error
        read = zip_reader(root)
    else:
        names = [name for name, _, _ in sources]

        def read(name):
            return root / name
    if not names:
        raise UserError(f'there is no image in {root}: it should hold '
                        f'{", ".join(IMAGE_SUFFIXES)} files')

    def decode_some(names):
        return [pixels_or_reason(read(name), name) for name in names]

    def pixels_or_reason(file, name):
        try:
            return decode(file, img_shape, crop).tobytes()
        except Exception as error:           # a damaged image can fail in any way
            return f'{name} ({error or type(error).__name__})'

    kept, unreadable = [], []
    chunks = [names[start:start + CHUNK] for start in range(0, len(names), CHUNK)]
    n_ahead = 16 * os.cpu_count()            # chunks under way at once: bounds the memory
    bar = tqdm(total=len(names), unit='image', desc='decoding once', disable=None)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool, atomic_write(path) as file, \
            warnings.catch_warnings():
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        for start in range(0, len(chunks), n_ahead):
            some = chunks[start:start + n_ahead]
            for chunk, results in zip(some, pool.map(decode_some, some)):
                for name, result in zip(chunk, results):
                    if isinstance(result, bytes):
                        kept.append(name)
                        file.write(result)
                    else:
                        unreadable.append(result)
                bar.update(len(chunk))
        about = {'key': key, 'bytes_per_image': 3 * img_shape[0] * img_shape[1], 'names': kept,
                 'unreadable': unreadable}
        if not kept or len(unreadable) > len(names) / 100:
            raise UserError(left_out(root, about) + '; that is too many to go on: '
                            'mend or remove them')
        tail = json.dumps(about).encode()
        file.write(tail + len(tail).to_bytes(8, 'little'))


def zip_reader(root):
    """A function name -> file object; each thread keeps a zip of its own open."""
    local = threading.local()

    def read(name):
        if not hasattr(local, 'archive'):
            local.archive = zipfile.ZipFile(root)
        return BytesIO(local.archive.read(name))
    return read


def decode(file, img_shape, crop):
    """An image file -> uint8 (3, height, width), upright, RGB, its middle square resized.

    The same pixels as torchvision's CenterCrop and Resize, without their overhead, which
    would keep threads from working side by side.
    """
    with Image.open(file) as image:
        image.load()
        if not image.info.keys().isdisjoint(ORIENTED):
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):        # 16 bits: keep the upper 8 of them
            image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        if image.mode == 'P':                 # a palette may have transparent colours
            image = image.convert('RGBA')
        if image.mode != 'RGB':
            image = image.convert('RGB')
        side = min(*image.size, crop)
        left, top = round((image.width - side) / 2), round((image.height - side) / 2)
        image = image.crop((left, top, left + side, top + side))
        image = image.resize(img_shape[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image).transpose(2, 0, 1)


def left_out(root, about):
    """The sentence on the images that could not be read."""
    bad = about['unreadable']
    first = ', '.join(bad[:3]) + (', ...' if len(bad) > 3 else '')
    return (f'{len(bad)} of {len(bad) + len(about["names"])} images in {root} cannot be read '
            f'and are left out: {first}')


def remove_abandoned(path):
    """Remove what a killed build left behind; a build that is under way writes all the time."""
    for temporary in path.parent.glob(glob.escape(temporary_prefix(path)) + '*.tmp'):
        try:
            if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
                temporary.unlink()
        except FileNotFoundError:             # its build has just ended
            continue
