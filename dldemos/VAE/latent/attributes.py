"""Attributes of faces (glasses, a smile, black hair ...) as directions in the latent space."""
import glob
import os
from pathlib import Path

import torch

from dldemos.VAE.images.grids import labelled_rows, save_picture
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import WORK_DIR

SHOWN_ATTRIBUTES = ('Eyeglasses', 'Smiling', 'Mouth_Slightly_Open', 'Male', 'Young', 'Blond_Hair',
                    'Black_Hair', 'Gray_Hair', 'Bald', 'Bangs', 'No_Beard', 'Pale_Skin')


@torch.no_grad()
def draw_attributes(device, model, faces, directions, work_dir=WORK_DIR, n_steps=9, reach=2.0):
    """Add glasses, a smile ... to faces, by directions in the latent space.

    An attribute is taken away and added in a row, attributes.jpg in work_dir.

    Args:
        faces: a face for each row, (N, 3, H, W); used in turn.
        directions: {attribute: (latent_dim,)}, of attribute_directions.

    Returns:
        The picture.
    """
    model.to(device).eval()
    mean, _ = model.encode(faces.to(device))
    amounts = torch.linspace(-reach, reach, n_steps, device=device).unsqueeze(1)
    rows = [(name, model.decode(mean[i % len(mean)] + amounts * direction.to(device)))
            for i, (name, direction) in enumerate(directions.items())]
    return save_picture(labelled_rows(rows, columns=[f'{x:+.1f}' for x in amounts.flatten()]),
                        f'{work_dir}/attributes.jpg')


def read_attributes(root, names):
    """The attributes of images, from CelebA's list_attr_celeba.txt or one like it.

    Args:
        root: folder or zip of the images; the list lies in it or beside it.
        names: file names of the images, in the order of the rows to return.

    Returns:
        {attribute: bool tensor (len(names),)}

    Raises:
        UserError: there is no list, it is not laid out as CelebA's, or it lacks one of the
            images.
    """
    root = Path(root)
    found = [Path(path) for folder in (root, root.parent) if folder.is_dir()
             for path in sorted(glob.glob(f'{glob.escape(str(folder))}/list_attr*.txt'))]
    if not found:
        raise UserError(f'there is no list_attr_celeba.txt in {root} or beside it: data/README.md '
                        f'says where to get it')
    header, values = parse_list(found[0])
    try:
        rows = bytearray().join(values[os.path.basename(name)] for name in names)
    except KeyError as error:
        raise UserError(f'{found[0]} has no line for {error.args[0]}: get the list that belongs '
                        f'to these images') from error
    table = torch.frombuffer(rows, dtype=torch.bool).view(len(names), len(header))
    return dict(zip(header, table.T))


def parse_list(path):
    """(attributes, {file name: a byte for each, 1 or 0}) of a list laid out as CelebA's."""
    layout = ('is not laid out as list_attr_celeba.txt: a count, a line of names, then a name '
              'and a 1 or -1 for each attribute on every line')
    header, values = None, {}
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        lines = ((number, line.split()) for number, line in enumerate(file, 1) if line.strip())
        next(lines, None)                                  # the count
        for number, (name, *signs) in lines:
            if header is None:
                header = [name, *signs]
                continue
            if len(signs) != len(header) or not set(signs) <= {'1', '-1'}:
                raise UserError(f'{path}, line {number}, {layout}')
            values[name] = bytes(sign == '1' for sign in signs)
    if header is None:
        raise UserError(f'{path} {layout}')
    return header, values


def attribute_directions(mean, attributes, least=20):
    """The difference between the mean codes of images with and without each attribute.

    Args:
        mean: mean codes of the images, (N, latent_dim).
        attributes: {name: bool tensor (N,)}.
        least: images that must have an attribute, and lack it, for its direction to count.

    Returns:
        {name: (latent_dim,)} for those of SHOWN_ATTRIBUTES that are known of enough images.

    Raises:
        UserError: there is none.
    """
    directions = {}
    for name in SHOWN_ATTRIBUTES:
        has = attributes.get(name, torch.zeros(len(mean), dtype=torch.bool))
        if has.sum() >= least and (~has).sum() >= least:
            directions[name] = mean[has].mean(0) - mean[~has].mean(0)
    if not directions:
        raise UserError(f'none of {", ".join(SHOWN_ATTRIBUTES)} is known of at least {least} '
                        f'images, and not of {least} others: take more images')
    return directions
