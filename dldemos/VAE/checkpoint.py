"""Weights on disk: saved whole or not at all, loaded without running anything in them."""
from pathlib import Path

import torch

from dldemos.VAE.errors import UserError
from dldemos.VAE.files import whole_file


def save_weights(path, model):
    """Write the state dict of `model` to `path`, as the article's own script does."""
    with whole_file(path) as file:
        torch.save(model.state_dict(), file)


def load_weights(path, model):
    """Load a state dict from `path` into `model`, in place.

    Raises:
        UserError: there is no such file, it is damaged, it holds anything but
            tensors (nothing of it is run), or it is of a model of other sizes.
    """
    if not Path(path).is_file():
        raise UserError(f'there are no weights at {path}: make them with '
                        f'`python -m dldemos.VAE.main train`')
    try:
        weights = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f'{path} is damaged, or is not a file of weights alone, and nothing '
                        f'of it was run ({type(error).__name__}): remove it and train '
                        f'again') from error
    expected = model.state_dict()
    if not isinstance(weights, dict) or weights.keys() != expected.keys():
        raise UserError(f'{path} does not hold the weights of this VAE: choose another file '
                        f'with --ckpt_path, or the hiddens it was trained with')
    for name, tensor in weights.items():
        if getattr(tensor, 'shape', None) != expected[name].shape:
            raise UserError(f'{path} is of a VAE of other sizes ({name} differs): give the '
                            f'hiddens and latent_dim that it was trained with')
    model.load_state_dict(weights)


def is_finite(model):
    """Whether no weight or running statistic of `model` is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
