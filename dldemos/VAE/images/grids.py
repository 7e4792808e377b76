"""Pictures to look at: grids of images with their labels, written to `work_dirs/`."""
import math
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
    n_images, side = len(images), images.shape[-1]
    columns = min(n_images, max(columns, math.isqrt(n_images - 1) + 1))
    factor = enlargement(n_images, columns, math.ceil(n_images / columns), side)
    return tiled(enlarged(images, factor), columns)


def grid_of_batches(batches, n_images):
    """The picture of `grid` of n_images images that come in batches.

    Where a picture cannot hold them all, the first ones are drawn, and a line says so; no
    more batches are taken.
    """
    images, n_drawn = [], 0
    for some in batches:
        shown = min(n_images, most_images(some.shape[-1]))
        images.append(to_bytes(some))
        n_drawn += len(some)
        if n_drawn >= shown:
            break
    if shown < n_images:
        print(f'a picture holds {shown:,} faces: these are the first of {n_images:,}')
    return grid(torch.cat(images)[:shown])


def to_bytes(images):
    """Images in [0, 1], clamped -> uint8 of 0..255; what is uint8 already stays."""
    if images.dtype == torch.uint8:
        return images
    return images.detach().float().cpu().clamp(0, 1).mul(255).byte()


def tiled(images, columns):
    """Images (N, 3, H, W) in rows, with white lines between and around them (PIL)."""
    images = F.pad(to_bytes(images), (PADDING, 0, PADDING, 0), value=255)      # left and above
    n_missing = -len(images) % columns
    blank = torch.full((n_missing, *images.shape[1:]), 255, dtype=torch.uint8)
    sheet = torch.cat([images, blank]).unflatten(0, (-1, columns))
    sheet = sheet.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)           # (height, width, 3)
    sheet = F.pad(sheet, (0, 0, 0, PADDING, 0, PADDING), value=255)            # right and below
    return Image.fromarray(sheet.numpy())


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
    n_images, longest = sum(len(images) for _, images in rows), max(len(i) for _, i in rows)
    factor = enlargement(n_images, longest, len(rows), rows[0][1].shape[-1])
    rows = [(label, enlarged(images, factor)) for label, images in rows]
    margin = 16 + max(text_width(label) for label, _ in rows)
    strips = [tiled(images, len(images)) for _, images in rows]
    width = margin + max(strip.width for strip in strips)
    top = 2 * FONT_SIZE if columns else 0
    height = top + sum(strip.height - PADDING for strip in strips) + PADDING
    picture = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(picture)
    step = rows[0][1].shape[-1] + PADDING
    for i, label in enumerate(columns):
        write(draw, (margin + step * i + step // 2, top // 2), label, anchor='mm')
    for (label, _), strip in zip(rows, strips):
        picture.paste(strip, (margin, top))
        write(draw, (8, top + strip.height // 2), label, anchor='lm')
        top += strip.height - PADDING
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
    images = images.clone()
    frame = torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)
    frame[width:-width, width:-width] = False
    orange = torch.tensor([1.0, 0.55, 0.0], device=images.device)
    for index in which:
        images[index] = torch.where(frame, orange.view(3, 1, 1), images[index])
    return images


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
