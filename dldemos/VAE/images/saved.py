"""Drawn faces in a folder, each a PNG of its own, which is what FID programs read."""
import os
import re
from pathlib import Path

from PIL import Image, PngImagePlugin

from dldemos.VAE.images.grids import grid_of_batches, to_bytes
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import printable

OURS = b'dldemos.VAE generate'       # stands in each file, so that no other is overwritten
TEMPORARY = '.unfinished.tmp'


def draw_and_save(batches, n_images, folder=None):
    """The picture of n_images images that come in batches; each goes into the folder, if any.

    batches: an iterator; one of them is held at a time.
    """
    if folder is None:
        return grid_of_batches(batches, n_images)
    batches = save_each(batches, folder)
    picture = grid_of_batches(batches, n_images)
    for _ in batches:                              # what the picture has no room for
        pass
    return picture


def check_folder(folder):
    """The names of the faces in a folder that were saved there before; of no folder: none.

    Raises:
        UserError: there is anything else in it, hidden files apart.
    """
    if not os.path.lexists(folder):
        return []
    names = [name for name in sorted(os.listdir(folder)) if not name.startswith('.')]
    for name in names:
        if not is_ours(Path(folder) / name):
            raise UserError(f'{folder} holds {name}, which is no face that generate saved: give '
                            f'--save_images an empty folder, or a new one')
    return names


def is_ours(path):
    """Whether a file is a face that `save_each` wrote."""
    if not re.fullmatch(r'\d{6,}\.png', path.name) or not path.is_file():
        return False
    with open(path, 'rb') as file:
        return OURS in file.read(200)


def save_each(batches, folder):
    """Write each image of batches (N, 3, H, W) as 000001.png ... and hand the batches on.

    A file is there whole or not at all; faces that an earlier, longer call left are removed in
    the end.

    Raises:
        UserError: the folder holds anything else.
    """
    before, written = check_folder(folder), 0
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = PngImagePlugin.PngInfo()
    about.add_text('Software', OURS.decode())
    try:
        for images in batches:
            images = to_bytes(images)
            for pixels in images.permute(0, 2, 3, 1).contiguous().numpy():
                written += 1
                Image.fromarray(pixels).save(folder / TEMPORARY, 'PNG', pnginfo=about)
                os.replace(folder / TEMPORARY, folder / f'{written:06}.png')
            yield images
    finally:
        (folder / TEMPORARY).unlink(missing_ok=True)
    for name in before:
        if int(name.removesuffix('.png')) > written:
            (folder / name).unlink()
    print(f'faces: {written:,} in {printable(folder)}')
