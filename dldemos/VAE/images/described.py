"""What a training set was, for the record of the weights, and which images belonged to it."""
import hashlib
import os
from pathlib import Path

from torch.utils.data import Subset

from dldemos.VAE.images.cache import read_about
from dldemos.VAE.images.synthetic import LIST_NAME


def describe(dataloader):
    """{name: value} on the images that weights are trained on, for the record beside them."""
    dataset = getattr(dataloader, 'dataset', ())
    about, indices = {'n_images': len(dataset)}, range(len(dataset))
    if isinstance(dataset, Subset):
        dataset, indices = dataset.dataset, dataset.indices
    if hasattr(dataset, 'names') and indices:                # a CelebADataset, or part of one
        names = without_common_folder(dataset.names)
        chosen = [names[i] for i in indices]
        about |= {'root': str(dataset.root), 'crop': dataset.crop, 'first': min(chosen),
                  'last': max(chosen), 'synthetic': is_synthetic(dataset.root),
                  'fingerprint': dataset.fingerprint(indices),
                  'first_pixels': pixels_of(dataset, indices[chosen.index(min(chosen))])}
        between = {name for name in names if about['first'] <= name <= about['last']}
        if others := between.difference(chosen):             # a partition that is no first part
            about['not_trained_on'] = sorted(others)
    return about


def pixels_of(dataset, index):
    """A hash of an image's pixels, which tells it from another one of the same name."""
    return hashlib.sha256(dataset[index].numpy().tobytes()).hexdigest()


def are_others(about, dataset):
    """Whether the images of a dataset only have the names of those that were trained on."""
    if 'first_pixels' not in about or about.get('crop') != dataset.crop:
        return False
    names = without_common_folder(dataset.names)
    return about['first'] in names and (
        pixels_of(dataset, names.index(about['first'])) != about['first_pixels'])


def is_synthetic(root):
    """Whether the images of a folder are faces that this program drew."""
    return (Path(root) / LIST_NAME).exists()


def lie_otherwise(dataset):
    """Whether most images are not of CelebA's size, and their faces were not looked for."""
    about = read_about(dataset.cache)
    return dataset.crop != 'face' and about['n_celeba_size'] < len(about['names']) / 2


def were_trained_on(about, names):
    """Which images belonged to a training set, by their names: a list of bool.

    The training split is the first part of the images in the order of their names, so it is
    known by its first and its last one; where both have the same length, as the numbers of
    CelebA's, a name must have it too. Where a partition made it, the record names the others.

    Args:
        about: of `describe`.
        names: of all images of a folder or an archive, relative to it.
    """
    first, last, others = about['first'], about['last'], set(about.get('not_trained_on', ()))
    return [first <= name <= last and name not in others
            and (len(first) != len(last) or len(name) == len(first))
            for name in without_common_folder(names)]


def without_common_folder(names):
    """The names, relative to the deepest folder that all of them lie in."""
    folders = {os.path.dirname(name) for name in names}
    common = os.path.commonpath(folders) if folders and '' not in folders else ''
    return [name[len(common) + 1:] for name in names] if common else list(names)
