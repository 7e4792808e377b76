"""Walks through the code space: what lies between codes, along them, and behind them.

Near codes should give near faces, and directions should mean something. Images are
(N, 3, 64, 64) in [0, 1], codes (N, latent_dim).
"""
from pathlib import Path

import torch

from dldemos.VAE.images.grids import framed, grid, labelled_rows, save_animation, save_picture
from dldemos.VAE.support.errors import UserError

SHOWN_ATTRIBUTES = ('Eyeglasses', 'Smiling', 'Mouth_Slightly_Open', 'Male', 'Young', 'Blond_Hair',
                    'Black_Hair', 'Gray_Hair', 'Bald', 'Bangs', 'No_Beard', 'Pale_Skin')


@torch.no_grad()
def interpolate(device, model, images=None, n_rows=5, n_steps=10, seed=0):
    """Draw walks between codes, work_dirs/interpolate.jpg and .gif; the ends are framed.

    Args:
        images: faces to walk between, the first 2 n_rows of them in pairs; without them there
            are only walks between random codes.
    """
    model.to(device).eval()
    rows = []
    if images is not None:
        mean, _ = model.encode(images[:2 * n_rows].to(device))
        for a, b in zip(mean[0::2], mean[1::2]):
            rows.append(('two faces', framed(model.decode(lerp(a, b, n_steps)), (0, -1))))
    codes = torch.randn(2 * n_rows, model.latent_dim,
                        generator=torch.Generator().manual_seed(seed)).to(device)
    for a, b in zip(codes[0::2], codes[1::2]):
        rows.append(('two random codes', framed(model.decode(slerp(a, b, n_steps)), (0, -1))))
    save_picture(labelled_rows(rows), 'work_dirs/interpolate.jpg')
    walk = random_loop(model, device, seed=seed)
    save_animation([grid(model.decode(codes), columns=3) for codes in walk],
                   'work_dirs/interpolate.gif', milliseconds=80)


@torch.no_grad()
def traverse(device, model, images=None, n_dimensions=10, n_steps=9, reach=3.0):
    """Draw a face while one dimension of its code goes from -reach to reach, a row for each.

    The dimensions are those that carry the most information, by their KL divergence over
    `images`, without them over faces that the model draws; the face is the first of these.
    work_dirs/traverse.jpg.
    """
    model.to(device).eval()
    if images is None:
        images = model.sample(device, 64).clamp(0, 1)
    mean, logvar = model.encode(images.to(device))
    kl = kl_per_dimension(mean, logvar)
    rows = []
    for dimension in kl.argsort(descending=True)[:n_dimensions].tolist():
        codes = mean[0].repeat(n_steps, 1)
        codes[:, dimension] = torch.linspace(-reach, reach, n_steps)
        rows.append((f'dimension {dimension}: {kl[dimension]:.2f} nats', model.decode(codes)))
    save_picture(labelled_rows(rows, columns=[f'{x:+.1f}' for x in
                                              torch.linspace(-reach, reach, n_steps)]),
                 'work_dirs/traverse.jpg')


@torch.no_grad()
def draw_attributes(device, model, faces, directions, n_steps=9, reach=2.0):
    """Draw faces while an attribute is taken away and added, work_dirs/attributes.jpg.

    Args:
        faces: a face for each row, (N, 3, 64, 64); used in turn.
        directions: {attribute: (latent_dim,)}, of attribute_directions.
    """
    model.to(device).eval()
    mean, _ = model.encode(faces.to(device))
    amounts = torch.linspace(-reach, reach, n_steps, device=device).unsqueeze(1)
    rows = [(name, model.decode(mean[i % len(mean)] + amounts * direction.to(device)))
            for i, (name, direction) in enumerate(directions.items())]
    save_picture(labelled_rows(rows, columns=[f'{x:+.1f}' for x in amounts.flatten()]),
                 'work_dirs/attributes.jpg')


def lerp(a, b, n_steps):
    """Codes on the straight line from code a to code b, both included: (n_steps, latent_dim)."""
    t = torch.linspace(0, 1, n_steps, device=a.device).unsqueeze(1)
    return a + t * (b - a)


def slerp(a, b, n_steps):
    """Codes on the arc from a to b, both included: (n_steps, latent_dim).

    Codes of N(0, I) have nearly the same length, sqrt(latent_dim); a straight line between
    two of them passes through shorter ones, of which the decoder has seen few (White,
    "Sampling Generative Networks", 2016).
    """
    t = torch.linspace(0, 1, n_steps, device=a.device).unsqueeze(1)
    cosine = torch.dot(a, b) / (a.norm() * b.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-4:                       # the same direction, or the opposite one
        return lerp(a, b, n_steps)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def kl_per_dimension(mean, logvar):
    """KL divergence from N(0, I) in nats, a mean over images, of each dimension: (latent_dim,)."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean(0)


def random_loop(model, device, n_faces=9, n_keys=4, n_steps=12, seed=0):
    """Codes of n_faces faces that each walk through n_keys random codes and back to the first.

    Returns:
        (n_keys * n_steps, n_faces, latent_dim)
    """
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(n_faces, n_keys, model.latent_dim, generator=generator).to(device)
    walks = [torch.cat([slerp(key[i], key[(i + 1) % n_keys], n_steps + 1)[:-1]
                        for i in range(n_keys)]) for key in keys]
    return torch.stack(walks, dim=1)


@torch.no_grad()
def encode_all(model, device, dataloader):
    """Mean and log-variance of the codes of all images, on the CPU, in the loader's order."""
    model.eval()
    pairs = [[part.cpu() for part in model.encode(images.to(device))] for images in dataloader]
    return tuple(torch.cat(parts) for parts in zip(*pairs))


def read_attributes(root, names):
    """The attributes of images, from CelebA's list_attr_celeba.txt or one like it.

    Args:
        root: folder or zip of the images; the list lies in it or beside it.
        names: file names of the images, in the order of the rows to return.

    Returns:
        {attribute: bool tensor (len(names),)}

    Raises:
        UserError: there is no list, or it lacks one of the images.
    """
    root = Path(root)
    found = [path for folder in (root, root.parent) if folder.is_dir()
             for path in sorted(folder.glob('list_attr*.txt'))]
    if not found:
        raise UserError(f'there is no list_attr_celeba.txt in {root} or beside it: data/README.md '
                        f'says where to get it')
    lines = found[0].read_text(encoding='utf-8').splitlines()
    header = lines[1].split()
    values = {}
    for line in lines[2:]:
        name, *signs = line.split()
        values[name] = [sign == '1' for sign in signs]
    try:
        table = torch.tensor([values[Path(name).name] for name in names])
    except KeyError as error:
        raise UserError(f'{found[0]} has no line for {error.args[0]}: get the list that belongs '
                        f'to these images') from error
    if table.shape[1:] != (len(header),):
        raise UserError(f'{found[0]} is not laid out as list_attr_celeba.txt: a count, a line of '
                        f'names, then a name and a 1 or -1 for each attribute on every line')
    return dict(zip(header, table.T))


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
