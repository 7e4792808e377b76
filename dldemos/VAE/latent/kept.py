"""What is fitted to the codes of images, in a file beside the weights: priors, directions."""
import torch

from dldemos.VAE.support.files import atomic_write, beside_weights, printable, sha256


def kept_or_fitted(name, ckpt_path, ending, what, images, fit):
    """What was fitted to the codes of these weights and images: the one kept, or a new one.

    Args:
        name: of it in the file, which may hold several.
        ckpt_path, ending: it lies beside these weights, as <name of the weights><ending>.
        what: the word for it, 'prior': the file says so, and that is what a line tells of.
        images: a word that tells these images from others; None: as in the file.
        fit: a function without arguments -> tensors in dicts; called only where nothing is kept,
            or where it is of other weights or other images.
    """
    path = beside_weights(ckpt_path, ending)
    saved = read_kept(ckpt_path, ending, what)
    if not saved or (images and saved.get('images') != images):
        saved = {'format': file_format(what), 'weights': sha256(ckpt_path), 'images': images}
    if name not in saved:
        print(printable(f'fitting the {what} to the codes of the training images: {path}'),
              flush=True)
        saved[name] = fit()
        with atomic_write(path) as file:
            torch.save(saved, file)
    return saved[name]


def read_kept(ckpt_path, ending, what):
    """All that the file beside these weights holds; empty where it is none of theirs, or damaged.

    Returns:
        {'format': ..., 'weights': SHA-256 of the weights, 'images': a word, and what was fitted}
    """
    path = beside_weights(ckpt_path, ending)
    if not path.is_file():
        return {}
    try:
        saved = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        print(printable(f'{path} is damaged and is not looked at ({type(error).__name__})'))
        return {}
    is_theirs = (isinstance(saved, dict) and saved.get('format') == file_format(what)
                 and saved.get('weights') == sha256(ckpt_path))
    return saved if is_theirs else {}


def file_format(what):
    """What stands in the file, so that no other kind is taken for it."""
    return f'dldemos.VAE {what} 1'
