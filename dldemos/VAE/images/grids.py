"""Pictures to look at: grids of images, written to `work_dirs/`."""
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.functional import pad, to_pil_image
from torchvision.utils import make_grid

from dldemos.VAE.support.files import whole_file

PADDING = 2  # pixels between the images of a grid


def grid(images, columns=8):
    """Images (N, 3, H, W), clamped to [0, 1] -> one picture, row by row (PIL)."""
    images = images.detach().float().cpu().clamp(0, 1)
    sheet = make_grid(images, nrow=columns, padding=PADDING, pad_value=1.0)
    if len(images) == 1:                     # make_grid sets no border around a single image
        sheet = pad(sheet, [PADDING], fill=1.0)
    return to_pil_image(sheet)


def labelled_rows(rows, columns=()):
    """One picture of (label, images (N, 3, H, W)) pairs: a row each, its label at the left.

    columns: labels above the images, one for each.
    """
    font = ImageFont.load_default()
    margin = 12 + max(int(font.getlength(label)) for label, _ in rows)
    strips = [grid(images, columns=len(images)) for _, images in rows]
    width = margin + max(strip.width for strip in strips)
    top = 16 if columns else 0
    height = top + sum(strip.height - PADDING for strip in strips) + PADDING
    picture = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(picture)
    step = rows[0][1].shape[-1] + PADDING
    for i, label in enumerate(columns):
        draw.text((margin + step * i + step // 2, top // 2), label, fill='black', font=font,
                  anchor='mm')
    for (label, _), strip in zip(rows, strips):
        picture.paste(strip, (margin, top))
        draw.text((6, top + strip.height // 2), label, fill='black', font=font, anchor='lm')
        top += strip.height - PADDING
    return picture


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
    with whole_file(path) as file:
        frames[0].save(file, 'GIF', save_all=True, append_images=frames[1:], loop=0,
                       duration=milliseconds)
    print(f'picture: {path}')


def save_picture(picture, path):
    """Write a PIL picture to `path` and, as the newest picture, to tmp.jpg beside it."""
    path = Path(path)
    for target in (path, path.with_name('tmp.jpg')):
        with whole_file(target) as file:
            picture.save(file, 'JPEG', quality=92)
    print(f'picture: {path}')
