"""The bundled weights, random codes for them, and what attributes change in codes, from Python.

    from dldemos.VAE.pretrained import directions, random_codes, vae

    model = vae('calibrated')
    code = random_codes(64, 'calibrated')
    faces, smiling = model.decode(code), model.decode(code + directions('calibrated')['Smiling'])

`pretrained` was trained at the article's weight of the KL divergence; `sharp` at a smaller one,
for sharper faces from codes of N(0, I); `calibrated` at one that training chose itself, for the
sharpest faces, from codes of a prior that was fitted to those of images.
"""
import json

from dldemos.VAE.latent.fitted import DIRECTIONS, PRIOR, read_fitted
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import beside_weights, sha256
from dldemos.VAE.weights import BUNDLED, load_weights, weights_file


def vae(pretrained='pretrained'):
    """The VAE, with bundled weights, in evaluation mode on the CPU. Nothing is downloaded.

    Args:
        pretrained: which weights, 'pretrained' (or True), 'sharp' or 'calibrated'; None (or False):
            random ones. From codes of N(0, I), as `model.sample` has them, `calibrated` draws no
            faces: see `random_codes`.

    Raises:
        ValueError: there are no weights of this name.
        UserError: their file is missing, or is not the one that their manifest has the SHA-256 of.
    """
    if isinstance(pretrained, bool):                   # as other models of torch.hub have it
        pretrained = 'pretrained' if pretrained else None
    model = VAE()
    if pretrained is not None:
        load_weights(checked_file(pretrained), model)
    return model.eval()


def random_codes(n_samples, pretrained='pretrained', prior='flow', temperature=1.0):
    """Random codes (n_samples, latent_dim) of a prior that came with bundled weights.

    Args:
        prior: 'flow' or 'gaussian', both fitted to the codes of the training images.
        temperature: lower gives more usual faces.

    Errors are those of `vae`; ValueError, too, where there is no such prior.
    """
    from dldemos.VAE.latent.priors import PRIORS, sample_codes  # they need tqdm, `vae` does not
    if prior not in PRIORS[1:]:
        raise ValueError(f'there is no fitted prior {prior!r}: there are {", ".join(PRIORS[1:])}')
    checked_file(pretrained, PRIOR[0])
    fitted = read_fitted(checked_file(pretrained), PRIOR)[prior]
    return sample_codes(prior, fitted, n_samples, len(fitted['mean']), temperature)


def directions(pretrained='pretrained'):
    """What attributes of faces change in the codes of bundled weights: {name: (latent_dim,)}.

    They are made by attribute_directions, latent/attributes.py: adding one to a code adds the
    attribute to the face. Errors are those of `vae`.
    """
    checked_file(pretrained, DIRECTIONS[0])
    return read_fitted(checked_file(pretrained), DIRECTIONS)['directions']


def checked_file(name, ending='.pth'):
    """A file of bundled weights, which is as it was shipped; errors as those of `vae`."""
    if name not in BUNDLED:
        raise ValueError(f'there are no bundled weights {name!r}: there are '
                         f'{", ".join(BUNDLED)}, and None is for random ones')
    manifest = beside_weights(weights_file(name), '.json')
    path = beside_weights(weights_file(name), ending)
    for needed in (path, manifest):
        if not needed.is_file():
            raise UserError(f'{needed} is missing: get the whole repository again')
    try:
        as_shipped = json.loads(manifest.read_text(encoding='utf-8'))['sha256'].get(path.name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{manifest} is no manifest of weights: get the whole repository '
                        f'again') from error
    if as_shipped != sha256(path):
        raise UserError(f'{path} does not match its checksum in {manifest.name}, and was not '
                        f'loaded: get the whole repository again')
    return str(path)
