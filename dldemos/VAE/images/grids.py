"""Pictures to look at: grids of images with their labels, written to `work_dirs/`."""
import math
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from dldemos.VAE.support.files import atomic_write, printable

PADDING = 2                    # pixels between the images of a grid
FONT_SIZE = 13
FEW_IMAGES, COMFORTABLE = 16, 512    # a picture of fewer images is enlarged to this many pixels


def grid(images, columns=8):
    """Images (N, 3, H, W), of to_bytes or in [0, 1] -> one picture, row by row (PIL).

    A picture of fewer than FEW_IMAGES images is enlarged; one of many has more columns, so as
    to be no higher than wide.
    """
    return grid_of_batches([images], len(images), columns)


def grid_of_batches(batches, n_images, columns=8):
    """The picture of `grid` of n_images images that come in batches, which are not kept.

    Where a picture cannot hold them all, the first ones are drawn, and a line says so; no
    more batches are taken.
    """
    batches = iter(batches)
    first = next(batches)
    side = first.shape[-1]
    shown = min(n_images, most_images(side))
    if shown < n_images:
        print(f'a picture holds {shown:,} faces: these are the first of {n_images:,}')
    columns = min(shown, max(columns, math.isqrt(shown - 1) + 1))
    factor = enlargement(shown, columns, math.ceil(shown / columns), side)
    return sheet((enlarged(images, factor) for images in chain([first], batches)), shown, columns)


def tiled(images, columns):
    """Images (N, 3, H, W) in rows, with lines between and around them (PIL)."""
    return sheet([images], len(images), min(columns, len(images)))


def sheet(batches, n_images, columns):
    """The picture of `tiled` of the first n_images that come in batches."""
    picture, n_drawn = None, 0
    for images in batches:
        height, width = (side + PADDING for side in images.shape[-2:])
        if picture is None:
            size = width * columns + PADDING, height * math.ceil(n_images / columns) + PADDING
            picture = Image.new('RGB', size, 'white')
        pixels = to_bytes(images[:n_images - n_drawn]).permute(0, 2, 3, 1).contiguous().numpy()
        for place, image in enumerate(pixels, n_drawn):
            row, column = divmod(place, columns)
            corner = PADDING + width * column, PADDING + height * row
            picture.paste(Image.fromarray(image), corner)
        n_drawn += len(pixels)
        if n_drawn == n_images:
            break
    return picture


def to_bytes(images):
    """Images in [0, 1], clamped -> uint8 of 0..255; what is uint8 already stays."""
    if images.dtype == torch.uint8:
        return images
    return images.detach().float().cpu().clamp(0, 1).mul(255).byte()


def most_images(side):
    """How many images of so many pixels a side fit into a picture that programs open."""
    return (math.isqrt(Image.MAX_IMAGE_PIXELS) // (side + PADDING)) ** 2


def enlargement(n_images, columns, rows, side):
    """The whole number by which images are enlarged, for a picture comfortable to look at."""
    if n_images >= FEW_IMAGES:
        return 1
    return max(1, round(COMFORTABLE / (max(columns, rows) * side)))


def enlarged(images, factor):
    """Images (N, 3, H, W) -> (N, 3, factor * H, factor * W), smooth between their pixels."""
    if factor == 1:
        return images
    pixels = to_bytes(images).float() / 255
    return F.interpolate(pixels, scale_factor=factor, mode='bicubic').clamp(0, 1)


def labelled_rows(rows, columns=()):
    """One picture of (label, images (N, 3, H, W)) pairs: a row each, its label at the left.

    columns: labels above the images, one for each.
    """
    longest = max(len(images) for _, images in rows)
    factor = enlargement(sum(len(images) for _, images in rows), longest, len(rows),
                         rows[0][1].shape[-1])
    strips = [tiled(enlarged(images, factor), longest) for _, images in rows]
    width, height = (strips[0].width - PADDING) // len(rows[0][1]), strips[0].height - PADDING
    left = 16 + max(text_width(label) for label, _ in rows)
    top = 2 * FONT_SIZE if columns else 0
    picture = Image.new('RGB', (left + width * longest + PADDING,
                                top + height * len(rows) + PADDING), 'white')
    draw = ImageDraw.Draw(picture)
    for i, label in enumerate(columns):
        write(draw, (left + width * i + width // 2, top // 2), label, anchor='mm')
    for (label, _), strip in zip(rows, strips):
        picture.paste(strip, (left, top))
        write(draw, (8, top + strip.height // 2), label, anchor='lm')
        top += height
    return picture


def write(draw, place, text, **how):
    """Draw a line of text in Pillow's own font, whose spaces are too narrow beside numbers."""
    draw.text(place, text.replace(' ', '  '), fill='black',
              font=ImageFont.load_default(FONT_SIZE), **how)


def text_width(text):
    """The width in pixels of what `write` draws."""
    return int(ImageFont.load_default(FONT_SIZE).getlength(text.replace(' ', '  ')))


def framed(images, which, width=2):
    """The images (N, 3, H, W), those at the indices `which` in an orange frame."""
    which, inside = list(which), (..., slice(width, -width), slice(width, -width))
    framed = images.clone()
    framed[which] = torch.tensor([1.0, 0.55, 0.0]).to(images).view(3, 1, 1)
    framed[inside] = images[inside]
    return framed


def pairs(first, second, columns=8):
    """Rows for `labelled_rows`: originals (N, 3, H, W), each above its reconstruction."""
    rows = []
    for above, below in zip(first.split(columns), second.split(columns)):
        rows += [('original', above), ('decoded', below)]
    return rows


def save_animation(frames, path, milliseconds):
    """Write PIL pictures as a GIF that starts anew at its end.

    milliseconds: how long a frame stays, or a list of such times.
    """
    with atomic_write(path) as file:
        frames[0].save(file, 'GIF', save_all=True, append_images=frames[1:], loop=0,
                       duration=milliseconds)
    print(f'picture: {printable(path)}')


def save_picture(picture, path):
    """Write a PIL picture to `path` and, as the newest picture, to tmp.jpg beside it.

    Returns:
        The picture, which a notebook shows.
    """
    path = Path(path)
    for target in (path, path.with_name('tmp.jpg')):
        with atomic_write(target) as file:
            picture.save(file, 'JPEG', quality=92)
    print(f'picture: {printable(path)}')
    return picture
