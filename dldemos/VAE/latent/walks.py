"""Walks through the latent space: what lies between codes, and along its dimensions.

Near codes should give near faces. Images are (N, 3, H, W) in [0, 1], codes (N, latent_dim).
"""
from functools import partial

import torch

from dldemos.VAE.images.grids import framed, labelled_rows, save_animation, save_picture, tiled
from dldemos.VAE.latent.elbo import kl_per_dimension
from dldemos.VAE.support.files import WORK_DIR

N_COLOURS = 80                 # of the animation: more make a file of over a megabyte


@torch.no_grad()
def interpolate(device, model, images=None, random_codes=None, work_dir=WORK_DIR, n_rows=5,
                n_steps=10):
    """Draw walks between faces, and between random codes.

    interpolate.jpg in work_dir, its decoded ends framed and the images themselves beside them,
    and interpolate.gif.

    Args:
        images: faces to walk between, the first 2 n_rows of them in pairs; without them there
            are only walks between random codes.
        random_codes: a function of a number of codes -> (n, latent_dim); None: codes of N(0, I).

    Returns:
        The picture.
    """
    model.to(device).eval()
    images = [] if images is None else images[:2 * n_rows]
    if len(images) % 2:
        print(f'a walk needs two faces, and there {"is" if len(images) == 1 else "are"} '
              f'{len(images)}: the last one is left out')
    rows = []
    for a, b in zip(images[0::2], images[1::2]):
        ends = torch.stack([a, b])
        mean, _ = model.encode(ends.to(device))
        rows.append(('two faces', walk(model, lerp(*mean, n_steps), ends)))
    random_codes = random_codes or partial(normal_codes, model.latent_dim)
    codes = random_codes(2 * n_rows).to(device)
    for a, b in zip(codes[0::2], codes[1::2]):
        faces = walk(model, slerp(a, b, n_steps), None if len(images) < 2 else
                     torch.ones_like(images[:2]))
        rows.append(('two random codes', faces))
    columns = ['image', 'decoded', *[''] * (n_steps - 2), 'decoded', 'image']
    picture = save_picture(labelled_rows(rows, columns if len(images) > 1 else ()),
                           f'{work_dir}/interpolate.jpg')
    frames = [tiled(model.decode(codes), columns=3)
              for codes in random_loop(random_codes, device)]
    save_animation([frame.quantize(N_COLOURS, dither=0) for frame in frames],
                   f'{work_dir}/interpolate.gif', milliseconds=80)
    return picture


def walk(model, codes, ends=None):
    """The decoded codes, first and last framed, between the two images `ends` if given."""
    faces = framed(model.decode(codes), (0, -1)).cpu()
    return faces if ends is None else torch.cat([ends[:1], faces, ends[1:]])


@torch.no_grad()
def traverse(device, model, images=None, random_codes=None, work_dir=WORK_DIR, n_dimensions=10,
             n_steps=9, reach=3.0):
    """Draw a face while one dimension of its code changes.

    A row for each of the dimensions that carry the most information, by their KL divergence
    over `images`, each going from -reach to reach, traverse.jpg in work_dir.

    Args:
        images: the first of these is the face; without them, faces that the model draws.
        random_codes: a function of a number of codes -> (n, latent_dim); None: codes of N(0, I).

    Returns:
        The picture.
    """
    model.to(device).eval()
    if images is None:
        random_codes = random_codes or partial(normal_codes, model.latent_dim)
        images = model.decode(random_codes(64).to(device)).clamp(0, 1)
    mean, logvar = model.encode(images.to(device))
    kl = kl_per_dimension(mean, logvar).mean(0)
    values = torch.linspace(-reach, reach, n_steps)
    rows = []
    for dimension in kl.argsort(descending=True)[:n_dimensions].tolist():
        codes = mean[0].repeat(n_steps, 1)
        codes[:, dimension] = values
        rows.append((f'dimension {dimension}: {kl[dimension]:.2f} nats', model.decode(codes)))
    return save_picture(labelled_rows(rows, columns=[f'{x:+.2f}' for x in values]),
                        f'{work_dir}/traverse.jpg')


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
    if not angle.sin() >= 1e-4:      # the same direction, the opposite one, or a code of length 0
        return lerp(a, b, n_steps)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def normal_codes(latent_dim, n, seed=0):
    """n codes of N(0, I), (n, latent_dim), the same for the same seed."""
    return torch.randn(n, latent_dim, generator=torch.Generator().manual_seed(seed))


def random_loop(random_codes, device, n_faces=9, n_keys=4, n_steps=12):
    """Codes of n_faces faces that each walk through n_keys random codes and back to the first.

    random_codes: a function of a number of codes -> (n, latent_dim).

    Returns:
        (n_keys * n_steps, n_faces, latent_dim)
    """
    keys = random_codes(n_faces * n_keys).to(device).unflatten(0, (n_faces, n_keys))
    walks = [torch.cat([slerp(key[i], key[(i + 1) % n_keys], n_steps + 1)[:-1]
                        for i in range(n_keys)]) for key in keys]
    return torch.stack(walks, dim=1)
