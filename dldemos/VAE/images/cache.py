"""Images decoded once: a source of pictures -> one file of pixels, mapped into memory.

Decoding a JPEG costs about as much time as a training step costs a GPU, and the article's
program does it again for every image in every epoch. Here the first use of a source
decodes, crops and resizes all of it into one file beside it; later uses map that file.

The file: the pixels, uint8 (N, 3, height, width), the looks of the images, uint8 (N, 64), then a
JSON object that says what they were made from, and its length in 8 bytes. It gets its name when it
is complete. Of a folder or a zip it may hold the first images by name alone, where no more were
asked for; it is made anew when more are.
"""
import hashlib
import inspect
import json
import os
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from tqdm import tqdm

from dldemos.VAE.images.lists import recorded_partition
from dldemos.VAE.images.looks import N_VALUES, SIDE
from dldemos.VAE.images.sources import find_source, open_images, readable
from dldemos.VAE.support.errors import WHAT_TO_DO, UserError
from dldemos.VAE.support.files import atomic_write, printable, remove_abandoned

ORIENTED = ('exif', 'xmp', 'XML:com.adobe.xmp', 'Raw profile type exif')
FORMAT = 'pixels 5'          # a new number here rebuilds every cache
IN_NAME_ORDER = ('folder', 'zip')    # sources of which the first images can be read alone
CHUNK = 32                   # images that a thread decodes in one go
CHUNK_BYTES = 8 * 2**20      # or fewer, if they hold so much memory while they wait
PNG_TEXT = 64 * 2**20        # bytes of text in a PNG; image generators write some megabytes
ELSEWHERE = 'data'           # folder of caches whose source lies where nothing can be written


def cached_images(root, img_shape, crop, cache_dir, n_images, transform):
    """The decoded images of `root`, a folder, a zip, a tar, Parquet shards or a picture.

    The cache is rebuilt when a name, a size or a modification time of the source, the crop
    or the shape has changed; an unchanged source is recognised without opening an image.

    Args:
        img_shape, crop, cache_dir, n_images: see CelebADataset, load_celebA.py.
        transform: that of load_celebA: RGB image, img_shape, crop -> uint8 (3, *img_shape).

    Returns:
        The path of the cache, and the names of its N images in order, relative to `root`.

    Raises:
        UserError: nothing at `root`, or no source of images; no image in it, more than one in
            ten that cannot be read; no place for the cache.
    """
    if crop not in ('auto', 'face') and not (isinstance(crop, int) and crop > 0):
        raise UserError(f'crop must be auto, face or a number of pixels, not {crop!r}')
    source = find_source(root)
    key = source_key(source, img_shape, crop, transform)
    name = f'{img_shape[0]}x{img_shape[1]}.crop{crop}.cache'
    for path in places(root, name, cache_dir):
        about = read_about(path)
        if is_current(about, key) and has_enough(about, n_images):
            break
    else:
        path = writable_place(root, name, cache_dir)
        remove_abandoned(path)
        try:
            build(path, source, key, img_shape, n_images,
                  lambda file: decode(file, img_shape, crop, transform))
        except OSError as error:
            if error.errno not in WHAT_TO_DO:
                raise
            raise UserError(f'the decoded images of {root} cannot be written to {path.parent} '
                            f'({error}): {WHAT_TO_DO[error.errno]}, or put them elsewhere with '
                            f'--cache_dir') from error
        about = read_about(path)
    for line in notices(root, path, about):
        print(printable(line))
    return path, about['names']


def places(root, name, cache_dir):
    """Where a cache may lie: in cache_dir, or beside the source, else in data/."""
    root = Path(os.path.abspath(root))
    base = root.name if len(os.fsencode(root.name)) < 150 else root.name[:40] + short_hash(root)
    apart = Path(cache_dir or ELSEWHERE) / f'{base}.{short_hash(root)}.{name}'
    return [apart] if cache_dir else [root.parent / f'{base}.{name}', apart]


def short_hash(path):
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def writable_place(root, name, cache_dir):
    """Where a new cache is to lie; a line says so where that is not beside the source."""
    place, *elsewhere = places(root, name, cache_dir)
    if cache_dir or os.access(place.parent, os.W_OK):
        return place
    print(printable(f'nothing can be written beside {root}: its decoded images go to '
                    f'{elsewhere[0]} (--cache_dir names another folder)'))
    return elsewhere[0]


def map_pixels(path, n_images, img_shape):
    """The pixels of a cache as a read-only array, uint8 (N, 3, height, width), on disk."""
    return np.memmap(path, np.uint8, mode='r', shape=(n_images, 3, *img_shape))


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


def map_looks(path, n_images, img_shape):
    """The looks of its images, uint8 (N, 64), likewise."""
    return np.memmap(path, np.uint8, mode='r', shape=(n_images, N_VALUES),
                     offset=n_images * 3 * img_shape[0] * img_shape[1])


def is_current(about, key):
    """Whether a cache is of this source as it is, and lacks no image that can now be read."""
    if about is None or about['key'] != key:
        return False
    return not (about['passed_over'] and 'HEIF' in readable()[1])


def has_enough(about, n_images):
    """Whether a cache has n_images, or all that there are."""
    return about['is_whole'] or n_images is not None and n_images <= len(about['names'])


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
        before = len(about['names']) * (about['bytes_per_image'] + N_VALUES)
        return about if before + length + 8 == total else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):     # the tail is not ours: a damaged file
        return None


def build(path, source, key, img_shape, n_images, decode):
    """Decode the images of a source into a new cache at `path`, on all cores.

    Args:
        n_images: how many are needed at least, where the source has its images in name order.
        decode: a function of an image file, see `decode`.
    """
    entries, notes = open_images(source)
    limit = n_images if source.kind in IN_NAME_ORDER else None
    names, looks, sizes, unreadable = [], [], set(), []
    bar = tqdm(total=limit or notes['total'], unit='image', desc='decoding once', disable=None)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool, atomic_write(path) as file, \
            limits_of_pillow():
        for decoded, reasons in decode_chunks(pool, entries, decode):
            if limit is not None:
                decoded = decoded[:limit - len(names)]
            for name, pixels, its_look, size in decoded:
                file.write(pixels)
                names.append(name)
                looks.append(its_look)
                sizes.add(size)
            unreadable += reasons
            bar.update(len(decoded) + len(reasons))
            if len(names) == limit:
                break
        order = sorted(range(len(names)), key=names.__getitem__)
        about = {'key': key, 'bytes_per_image': 3 * img_shape[0] * img_shape[1],
                 'names': [names[i] for i in order], 'unreadable': sorted(unreadable),
                 'is_whole': len(names) != limit,
                 'size': sizes.pop() if len(sizes) == 1 else None,
                 'passed_over': notes['passed_over'], 'left_out': source.left_out}
        about['parts'] = recorded_partition(notes, about['names'])
        check_enough(source.root, path, about)
        sort_rows(file, order, about['bytes_per_image'])
        file.write(np.frombuffer(b''.join(looks), np.uint8).reshape(-1, N_VALUES)[order])
        tail = json.dumps(about).encode()
        file.write(tail + len(tail).to_bytes(8, 'little'))


def decode_chunks(pool, entries, decode):
    """Decode the entries of open_images in a pool, a few chunks at once, in their order.

    Yields:
        For each chunk the images, (name, *what `decode` returns), and sentences on those that
        cannot be read.

    Raises:
        UserError: something is not installed that the crop needs.
    """
    def decode_some(chunk):
        decoded, reasons = [], []
        for name, read in chunk:
            try:
                decoded.append((name, *decode(read())))
            except UserError:
                raise
            except Exception as error:       # a damaged image can fail in any way
                reasons.append(f'{name} ({error or type(error).__name__})')
        return decoded, reasons

    waiting = deque()                        # no more than these are held in memory
    for chunk in chunks(entries):
        waiting.append(pool.submit(decode_some, chunk))
        if len(waiting) > 2 * os.cpu_count():
            yield waiting.popleft().result()
    for result in waiting:
        yield result.result()


@contextmanager
def limits_of_pillow():
    """While images are decoded: none that is too large, and PNG files with much text."""
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = PNG_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def chunks(entries):
    """Lists of (name, read), of CHUNK images or of CHUNK_BYTES that wait in memory."""
    chunk, held = [], 0
    for name, size, read in entries:
        chunk.append((name, read))
        held += size
        if len(chunk) == CHUNK or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def sort_rows(file, order, n_bytes):
    """Bring the rows of an open file into an order, in place."""
    if order == list(range(len(order))):
        return
    file.flush()
    rows = np.memmap(file.name, np.uint8, 'r+', shape=(len(order), n_bytes))
    done = bytearray(len(order))
    for start in range(len(order)):         # around each cycle of the permutation
        first, at = rows[start].copy(), start
        while not done[at]:
            done[at] = True
            rows[at] = first if order[at] == start else rows[order[at]]
            at = order[at]
    rows.flush()


def decode(file, img_shape, crop, transform):
    """An image file, upright and in RGB, transformed.

    Of several frames it is the first; transparent pixels lie on white.

    Returns:
        The bytes of its pixels (3, height, width), its look, and its (width, height).
    """
    with Image.open(file, formats=readable()[1]) as image:
        image.load()
        if not image.info.keys().isdisjoint(ORIENTED):
            image = ImageOps.exif_transpose(image)
        image = to_rgb(image)
        size, its_look = image.size, look(image)
        return transform(image, img_shape, crop).tobytes(), its_look, size


def look(image):
    """The look of an upright RGB image, N_VALUES bytes; see images/looks.py."""
    factor = max(1, min(image.size) // (8 * SIDE))       # which takes less time for large ones
    small = image.reduce(factor).convert('L')
    return small.resize((SIDE, SIDE), Image.Resampling.HAMMING,
                        (0, 0, image.width / factor, image.height / factor)).tobytes()


def eight_bits(image):
    """An image of integers or floats of any range -> 8 bits, from its least value to its most.

    What is in a file may be 10, 12 or 16 bits or 0 to 1, and does not say which: only the
    values do. One that is the same everywhere is taken by the range of its type.
    """
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 1)
    if low == high:
        low, high = 0, (1 if image.mode.startswith('F') else 65535)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    values = ((values - low) / (high - low)).clip(0, 1) * 255
    return Image.fromarray(values.round().astype(np.uint8))


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


def check_enough(root, path, about):
    """See that enough could be read; the list of all that could not goes beside the cache.

    Raises:
        UserError: no image at all, or more than one in ten that cannot be read.
    """
    n_bad, n = len(about['unreadable']), len(about['unreadable']) + len(about['names'])
    everything = unreadable_file(path)
    if n_bad:
        with atomic_write(everything, 'w') as file:
            file.write('\n'.join(map(printable, about['unreadable'])) + '\n')
    else:
        everything.unlink(missing_ok=True)
    if not n:
        raise UserError(f'there is no image in {root}: {what_to_give(root, about)}')
    if not about['names'] or about['is_whole'] and n_bad > max(1, n / 10):
        raise UserError(f'{left_out(root, path, about)}; that is too many to go on: mend or '
                        f'remove them')


def unreadable_file(path):
    """Where the list of the images goes that cannot be read, beside their cache."""
    return path.with_name(path.name.removesuffix('.cache') + '.unreadable.txt')


def what_to_give(root, about):
    """What to do about a source without an image."""
    if about['passed_over']:
        return f'its {heic_files(about["passed_over"])} need `pip install pillow-heif`'
    archives = sorted(path.name for path in Path(root).glob('*')
                      if path.name.lower().endswith(('.zip', '.tar', '.tar.gz', '.tgz')))
    if archives:
        return f'it holds {archives[0]}, which is a source itself: --data_root {root}/{archives[0]}'
    return 'it should hold JPEG, PNG, WebP, TIFF or other pictures, in subfolders or not'


def heic_files(n):
    return f'{n:,} HEIC file{"s" * (n != 1)}'


def notices(root, path, about):
    """Lines on the images of a source that are not used."""
    if about['left_out']:
        yield f'left out of {root}: {"; ".join(about["left_out"])}'
    if about['unreadable']:
        yield left_out(root, path, about)
    if about['passed_over']:
        yield (f'{heic_files(about["passed_over"])} in {root} passed over: '
               f'`pip install pillow-heif`, and they are read')


def left_out(root, path, about):
    """The sentence on the images that could not be read."""
    bad = about['unreadable']
    first = ', '.join(bad[:3]) + (', ...' if len(bad) > 3 else '')
    return (f'{len(bad)} of {len(bad) + len(about["names"])} images in {root} cannot be read '
            f'and are left out (all in {unreadable_file(path)}): {first}')
