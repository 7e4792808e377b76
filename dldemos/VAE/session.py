"""What an action works on, as the settings name it: weights, images, random codes."""
from pathlib import Path

import torch

from dldemos.VAE.latent import walks as latent
from dldemos.VAE.latent.priors import fitted_prior, sample_codes
from dldemos.VAE.load_celebA import (
    CELEBA_ROOT,
    CelebADataset,
    batches,
    find_celeba,
    find_images,
    split,
)
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.training import checkpoint, processes


def load_trained(path, model, default_path):
    """Load the weights at `path`, or the pretrained ones where nothing was trained yet.

    Returns:
        The path of the weights that were loaded.

    Raises:
        UserError: see checkpoint.load_weights; the pretrained weights only stand in for those
            at `default_path`, and only for a model of their sizes.
    """
    if path == default_path and not Path(path).exists() and same_sizes(model, VAE()):
        path = checkpoint.PRETRAINED
        print(f'nothing was trained here yet (no {default_path}): these are the pretrained '
              f'weights, of photographs')
    checkpoint.load_weights(path, model)
    return path


def same_sizes(model, other):
    """Whether the weights of one model fit into the other."""
    return ({name: value.shape for name, value in model.state_dict().items()}
            == {name: value.shape for name, value in other.state_dict().items()})


def open_images(settings):
    """All images of the settings, the ones to train on, and the held-out ones."""
    with processes.first_process_first():
        dataset = CelebADataset(find_images(settings.data_root), crop=settings.crop,
                                n_images=settings.n_images, cache_dir=settings.cache_dir)
    return (dataset, *split(dataset, settings.held_out))


def images_to_draw(actions, settings, weights_path):
    """All images that the actions look at, those trained on and the others; or three None.

    The pretrained weights have seen no images but CelebA's, and draw faces without any.

    Raises:
        UserError: the pretrained weights are to look at images, and there are none but drawn
            faces, which they do not know.
    """
    if actions == ['generate']:
        return None, None, None
    if not checkpoint.is_pretrained(weights_path):
        return open_images(settings)
    root = settings.data_root or find_celeba()
    if root is None and set(actions) <= {'generate', 'interpolate', 'traverse'}:
        return None, None, None
    if root is None:
        raise UserError('the pretrained weights are of photographs, and there are none here: give '
                        '--data_root with a folder of faces, or train on drawn faces with '
                        '`python -m dldemos.VAE.main train`')
    dataset, seen, unseen = open_images(settings)
    if Path(root).stem != Path(CELEBA_ROOT).name:
        seen, unseen = split(dataset, held_out=1)
    return dataset, seen, unseen


def draw_codes(settings, device, model, weights_path, seen, prior, n):
    """n random codes (n, latent_dim) of a prior, the same for the same seed.

    seen: the training images, for a prior that has to be fitted first; None: it opens them.
    """
    def encode():
        images = open_images(settings)[1] if seen is None else seen
        return latent.encode_all(model.to(device), device, batches(images, 64, shuffle=False))

    torch.manual_seed(settings.seed)
    fitted = None if prior == 'normal' else fitted_prior(prior, weights_path, encode)
    torch.manual_seed(settings.seed)           # the same codes, fitted just now or before
    return sample_codes(prior, fitted, n, model.latent_dim).to(device)
