"""Attributes of faces (glasses, a smile, black hair ...) as directions in the latent space."""
import torch

from dldemos.VAE.images.grids import labelled_rows, save_picture
from dldemos.VAE.images.lists import attribute_table, look_up
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
    """The attributes of images, from CelebA's list_attr_celeba or one like it.

    Args:
        root: source of the images; the list lies in it, beside it or one level up, or is
            columns of its shards.
        names: file names of the images, in the order of the rows to return.

    Returns:
        {attribute: bool tensor (len(names),)}

    Raises:
        UserError: there is no list, it is not laid out as CelebA's, or it lacks one of the
            images.
    """
    place, header, values = attribute_table(root)
    rows = look_up(values, names)
    if rows is None:
        raise UserError(f'{place} cannot tell the images apart, of which several have the same '
                        f'name in different folders: get the list that belongs to these images')
    if None in rows:
        missing = names[rows.index(None)].rsplit('/', 1)[-1]
        raise UserError(f'{place} has no line for {missing}: get the list that belongs to these '
                        f'images')
    table = torch.frombuffer(bytearray().join(rows), dtype=torch.bool)
    return dict(zip(header, table.view(len(names), len(header)).T))


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
