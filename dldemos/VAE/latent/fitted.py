"""What is fitted to the codes of images, in a file beside the weights: priors, directions."""
import torch

from dldemos.VAE.support.files import atomic_write, beside_weights, printable, sha256

# (ending of the file, what is in it, and how: a new number where that changes)
PRIOR, DIRECTIONS = KINDS = (('.prior.pth', 'prior 2'), ('.directions.pth', 'directions 1'))


def load_or_fit(name, ckpt_path, kind, fit):
    """What was fitted to codes of these weights: the one kept, or a new one.

    Args:
        name: of it in the file, which may hold several.
        ckpt_path: the weights; the file lies beside them, as <name of the weights><ending>.
        kind: PRIOR or DIRECTIONS.
        fit: a function without arguments -> (tensors in dicts, the looks (N, 64) of the images
            that they were fitted to where the weights were not trained on these, else None);
            called only where nothing is kept, or where it is of other weights.
    """
    saved = read_fitted(ckpt_path, kind)
    if name not in saved:
        saved |= {'format': file_format(kind), 'weights': sha256(ckpt_path)}
        saved[name], looks = fit()
        if looks is not None:
            saved['looks'] = torch.cat([saved.get('looks', torch.empty(0, 64).byte()),
                                        torch.from_numpy(looks.copy())])
        with atomic_write(beside_weights(ckpt_path, kind[0])) as file:
            torch.save(saved, file)
    return saved[name]


def read_fitted(ckpt_path, kind):
    """All that the file beside these weights holds; empty where it is none of theirs, or damaged.

    Returns:
        {'format': ..., 'weights': SHA-256 of the weights, and what was fitted}
    """
    path = beside_weights(ckpt_path, kind[0])
    if not path.is_file():
        return {}
    try:
        saved = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        print(printable(f'{path} is damaged and is ignored ({type(error).__name__})'))
        return {}
    is_theirs = (isinstance(saved, dict) and saved.get('format') == file_format(kind)
                 and saved.get('weights') == sha256(ckpt_path)
                 and saved.get('images') is None)      # an earlier version's, of unknown images
    return saved if is_theirs else {}


def file_format(kind):
    """What stands in the file, so that no other kind is taken for it."""
    return f'dldemos.VAE {kind[1]}'
