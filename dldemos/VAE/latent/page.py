"""The page of `explore`: the model in the browser, in one file that needs nothing else.

Its sources lie in `explore/`: page.html names a style sheet and scripts, which are put into it
here, because a page opened from disk may not import files beside it. vae.js is the model. The
weights go along as 16-bit floats, which change a pixel by less than the screen shows.
"""
import base64
import json
import re
import time
from pathlib import Path

import torch

from dldemos.VAE.latent.attributes import SHOWN_ATTRIBUTES
from dldemos.VAE.latent.elbo import kl_per_dimension
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.support.files import WORK_DIR, atomic_write, printable

SOURCES = Path(__file__).parent / 'explore'
MOST_DIRECTIONS = 12           # shown where none of SHOWN_ATTRIBUTES is known


@torch.no_grad()
def explore(device, model, images=None, about=None, work_dir=WORK_DIR):
    """Write a page with the model in it: sliders under a face, your own photograph as a code.

    explore.html in work_dir, one file that any browser opens from disk, without a network.

    Args:
        images: faces (N, 3, H, W) that say which dimensions carry the most information; without
            them, faces that the model draws.
        about: what the page says of the weights, and the directions it has sliders for:
            Session.about; None: nothing is known.

    Returns:
        The path of the page.
    """
    start = time.time()
    path = Path(work_dir) / 'explore.html'
    text = page(model, by_information(device, model, images), about)
    with atomic_write(path, 'w') as file:
        file.write(text)
    print(f'page: {printable(path)} ({len(text) / 1e6:.1f} MB, {time.time() - start:.1f} s), '
          f'which any browser opens')
    return path


def by_information(device, model, images=None):
    """The dimensions of a code, those first that carry the most: by their mean KL divergence."""
    model.to(device).eval()
    if images is None:
        images = model.decode(normal_codes(model.latent_dim, 64).to(device)).clamp(0, 1)
    kl = kl_per_dimension(*model.encode(images.to(device))).mean(0)
    return kl.argsort(descending=True, stable=True).tolist()


def page(model, order, about=None):
    """The text of the page: its sources in one, with the model in them."""
    about = dict(about or {})
    directions = about.pop('directions', None) or {}
    layers, weights = packed(folded(model))
    in_page = {'name': 'a VAE', 'weights': '', 'n_images': None, **about,
               'hiddens': list(model.hiddens), 'latent_dim': model.latent_dim,
               'image_size': model.image_size, 'order': order, 'layers': layers,
               'directions': [[name, [round(x, 5) for x in directions[name].tolist()]]
                              for name in shown(directions)]}
    return with_sources((SOURCES / 'page.html').read_text(encoding='utf-8')).replace(
        'MODEL_OF_THE_PAGE', json.dumps(in_page).replace('<', r'\u003c')).replace(
        'WEIGHTS_OF_THE_PAGE', base64.b64encode(weights).decode())


def shown(directions):
    """The names of the directions that get a slider."""
    return ([name for name in SHOWN_ATTRIBUTES if name in directions]
            or list(directions)[:MOST_DIRECTIONS])


def with_sources(html):
    """The page with its style sheet and its scripts in place of the tags that name them."""
    html = re.sub(r'<link rel="stylesheet" href="([\w.]+)">',
                  lambda found: f'<style>\n{read_source(found[1])}</style>', html)
    return re.sub(r'<script src="([\w.]+)"></script>',
                  lambda found: f'<script>\n{read_source(found[1])}</script>', html)


def read_source(name):
    return (SOURCES / name).read_text(encoding='utf-8')


@torch.no_grad()
def folded(model):
    """The weights as vae.js has them: {layer: (weight, bias)}, with no batch normalisation left.

    In evaluation mode that is a factor and a summand per channel, and the convolution before it
    can do both. Weights are laid out for images (H, W, C), their inputs before their outputs:
    (3, 3, inputs, outputs) of convolutions, (inputs, outputs) of linear layers.
    """
    channels, side, _ = model.feature_shape
    layers = {}
    for i, stage in enumerate(model.encoder):
        weight, bias = normalised(stage[0].weight.permute(2, 3, 1, 0), stage[0].bias, stage[1])
        layers[f'encoder.{i}'] = weight, bias
    for name in ('mean_linear', 'var_linear'):
        linear = getattr(model, name)
        weight = linear.weight.unflatten(1, (channels, side, side)).permute(2, 3, 1, 0)
        layers[name] = weight, linear.bias
    linear = model.decoder_projection
    layers['decoder_projection'] = (
        linear.weight.unflatten(0, (channels, side, side)).permute(3, 1, 2, 0),
        linear.bias.unflatten(0, (channels, side, side)).permute(1, 2, 0))
    for i, stage in enumerate(model.decoder):
        layers[f'decoder.{i}'] = normalised(stage[0].weight.permute(2, 3, 0, 1), stage[0].bias,
                                            stage[1])
    last = stage[3]
    layers[f'decoder.{i}.3'] = last.weight.permute(2, 3, 1, 0), last.bias
    return layers


def normalised(weight, bias, norm):
    """Weight (..., outputs) and bias of a convolution and the batch normalisation after it."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return weight * factor, (bias - norm.running_mean) * factor + norm.bias


def packed(layers):
    """The table of the layers, [name, length and scale of weight and bias], and their bytes.

    Each tensor is divided by its largest value, so that none is too large for 16 bits.
    """
    table, parts = [], []
    for name, tensors in layers.items():
        row = [name]
        for tensor in tensors:
            values = tensor.detach().float().cpu().reshape(-1)
            scale = values.abs().max().item() or 1.0
            parts.append((values / scale).numpy().astype('<f2').tobytes())
            row += [values.numel(), scale]
        table.append(row)
    return table, b''.join(parts)
