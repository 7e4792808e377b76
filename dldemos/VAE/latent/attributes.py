"""Attributes of faces (glasses, a smile, black hair ...) as directions in the latent space."""
import re
from functools import partial

import torch

from dldemos.VAE.images.grids import framed, labelled_rows, save_picture
from dldemos.VAE.images.lists import attribute_table, look_up
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import WORK_DIR
from dldemos.VAE.support.settings import similar

# Those that a stranger names who sees the picture; docs/results.md says what the others look like
SHOWN_ATTRIBUTES = ('Eyeglasses', 'Smiling', 'Male', 'Young', 'Blond_Hair', 'Black_Hair', 'Bangs',
                    'No_Beard', 'Pale_Skin')
# What a direction leaves as it is. Not all that is in CelebA's list: with lipstick, make-up and
# beards controlled for a direction to Male is hardly one; and not glasses, for the young wear
# sunglasses where the old wear thin ones: with glasses controlled for, Young would darken the eyes.
CONTROLLED_FOR = ('Smiling', 'Mouth_Slightly_Open', 'Male', 'Young', 'Blond_Hair', 'Black_Hair',
                  'Gray_Hair', 'Bald', 'Bangs', 'No_Beard', 'Pale_Skin')
STEP = 1.5                     # length of a direction, in standard deviations of the codes along it
REACH = 2.0                    # directions that are taken away, and added
N_FACES, N_ROWS = 2, 8         # faces in a row of several attributes; rows of one attribute


@torch.no_grad()
def draw_attributes(device, model, directions, faces=None, random_codes=None, attribute=None,
                    work_dir=WORK_DIR):
    """Add glasses, a smile ... to faces, by directions in the latent space.

    Each of SHOWN_ATTRIBUTES in a row, taken away from two faces and added to them, attributes.jpg
    in work_dir. Or one attribute, in more steps: each face in a row, attributes_<name>.jpg.

    Args:
        directions: {attribute: (latent_dim,)}, of attribute_directions.
        faces: (N, 3, H, W), of which the first are shown; None: faces of random codes.
        random_codes: a function of a number of codes -> (n, latent_dim); None: codes of N(0, I).
        attribute: the name of one, in capitals or not.

    Returns:
        The picture.

    Raises:
        UserError: there is no such attribute, or none of SHOWN_ATTRIBUTES.
    """
    model.to(device).eval()
    n_faces = N_FACES if attribute is None else N_ROWS
    if faces is None:
        random_codes = random_codes or partial(normal_codes, model.latent_dim)
        code = random_codes(n_faces)
    else:
        faces = faces[:n_faces]
        code, _ = model.encode(faces.to(device))
    code = code.to(device)
    if attribute is not None:
        name = find_attribute(attribute, directions)
        picture = one_attribute(model, code, name, directions[name].to(device), faces)
        name = re.sub(r'[^\w.-]', '_', name)              # a list may call it anything
        return save_picture(picture, f'{work_dir}/attributes_{name}.jpg')
    shown = [name for name in SHOWN_ATTRIBUTES if name in directions]
    if not shown:
        raise UserError(f'none of {", ".join(SHOWN_ATTRIBUTES)} is known: choose one with '
                        f'--attribute, of {", ".join(directions)}')
    picture = several_attributes(model, code, {name: directions[name].to(device) for name in shown})
    return save_picture(picture, f'{work_dir}/attributes.jpg')


def several_attributes(model, code, directions, n_steps=5):
    """A row for each direction, in it each of a few codes (N, latent_dim) from less to more."""
    rows = [(name, along(model, code, direction, n_steps))
            for name, direction in directions.items()]
    return labelled_rows(rows, labels(n_steps) * len(code))


def one_attribute(model, code, name, direction, images=None, n_steps=9):
    """A row for each code (N, latent_dim), from less to more, after its image if it has one."""
    rows, columns = along(model, code, direction, n_steps).split(n_steps), labels(n_steps)
    if images is not None:
        rows, columns = map(torch.cat, zip(images.cpu().split(1), rows)), ['image', *columns]
    return labelled_rows([(name, row) for row in rows], columns)


def along(model, code, direction, n_steps):
    """Faces of each code with -REACH to REACH of a direction added, those in the middle framed."""
    amounts = torch.linspace(-REACH, REACH, n_steps, device=code.device).unsqueeze(1)
    faces = model.decode((code.unsqueeze(1) + amounts * direction).flatten(0, 1)).cpu()
    return framed(faces, range(n_steps // 2, len(faces), n_steps))


def labels(n_steps):
    return [f'{x:+.1f}' for x in torch.linspace(-REACH, REACH, n_steps)]


def find_attribute(name, directions):
    """The attribute that a name means: in capitals or not, with blanks or underscores.

    Raises:
        UserError: there is none.
    """
    def plain(text):
        return re.sub(r'[\s_-]+', '_', text.strip()).title()

    for meant in (name, *(known for known in directions if plain(known) == plain(name))):
        if meant in directions:
            return meant
    close = similar(plain(name), directions)
    raise UserError(f'no direction is known of the attribute {name}{close}; there are '
                    f'{", ".join(directions)}')


def read_attributes(root, names):
    """The attributes of images, from CelebA's list_attr_celeba or one like it.

    Args:
        root: source of the images; the list lies in it, beside it or one level up, or is
            columns of its shards.
        names: file names of the images, in the order of the rows to return.

    Returns:
        {attribute: bool tensor (len(names),)}

    Raises:
        NoList: there is no list.
        UserError: it is not laid out as CelebA's, or it lacks one of the images.
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


def attribute_directions(mean, attributes, controlled_for=CONTROLLED_FOR, least=20):
    """What each attribute changes in the codes of images while others stay as they are.

    For each attribute a least-squares fit of the codes on it and on those that are controlled for.
    The difference between the mean codes of images with and without it would be all in which these
    differ: Bald would add a beard, and Blond_Hair make a woman.

    Args:
        mean: mean codes of the images, (N, latent_dim).
        attributes: {name: bool tensor (N,)}.
        controlled_for: names of attributes; those that are not known count for nothing.
        least: images that must have an attribute, and lack it, for its direction to count.

    Returns:
        {name: (latent_dim,)} for the attributes that are known of enough images. Each is STEP
        times as long as the standard deviation of the images' codes along it.

    Raises:
        UserError: there is none.
    """
    enough = [name for name, has in attributes.items()
              if has.sum() >= least and (~has).sum() >= least]
    if not enough:
        raise UserError(f'there are too few images to learn from what an attribute changes: at '
                        f'least {least} must have it, and {least} lack it. Take more images, or '
                        f'bundled weights: --ckpt_path sharp')
    table = torch.stack([attributes[name] for name in enough], dim=1).double()
    table, codes = table - table.mean(0), (mean - mean.mean(0)).double()
    among, with_codes = table.T @ table, table.T @ codes           # the normal equations
    held = [i for i, name in enumerate(enough) if name in controlled_for]
    directions = {}
    for i, name in enumerate(enough):
        fitted = [i] + [j for j in held if j != i]
        inverse = torch.linalg.pinv(among[fitted][:, fitted], hermitian=True)
        direction = torch.nn.functional.normalize(inverse[0] @ with_codes[fitted], dim=0)
        directions[name] = (STEP * (codes @ direction).std() * direction).float()
    return directions
