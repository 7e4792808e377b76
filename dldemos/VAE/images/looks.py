"""Looks: how an image is known again under another name, size, crop or encoding.

A look is a thumbnail of the whole upright picture: grey, 8 x 8, 64 bytes. Two pictures are the
same where the root of the mean squared difference of their looks is at most a tolerance, in grey
levels. Of 8,000 faces of CelebA, copies of half to twice the size, encoded anew at JPEG quality
20 or more, lie within 1.7 of their originals, and one in a thousand has another face nearer than
13.2. Sets of pictures that are alike have a smaller tolerance. A mirrored picture is another one.
"""
import hashlib

import numpy as np
from torch.utils.data import Subset

SIDE = 8
N_VALUES = SIDE * SIDE
TOLERANCE = 3.0            # grey levels, at most
N_SAMPLED = 2000           # images whose nearest neighbours say how alike those of a set are
CHUNK = 64                 # looks that are compared with others at once


def looks_of(dataset):
    """The looks of a CelebADataset or of a part of one, uint8 (N, N_VALUES); None of any other."""
    if isinstance(dataset, Subset):
        looks = looks_of(dataset.dataset)
        return None if looks is None else looks[list(dataset.indices)]
    return getattr(dataset, 'looks', None)


def are_known(looks, known, tolerance):
    """Which of the looks (N, N_VALUES) are those of known images (M, N_VALUES): bool (N,)."""
    found = np.isin(as_values(looks), as_values(known))              # most are the same to the bit
    left = np.flatnonzero(~found)
    found[left] = squared_distances(looks[left], known, tolerance) <= tolerance**2
    return found


def squared_distances(looks, others, within, skip_equal=False):
    """The mean squared difference of each look to the nearest of the others, (N,).

    Infinite where no mean grey lies within `within`: looks are never nearer than their means.

    Args:
        skip_equal: others that are the same to the bit count for nothing.
    """
    nearest = np.full(len(looks), np.inf, np.float32)
    grey = looks.mean(1)
    others = others[np.argsort(others.mean(1))]
    means = others.mean(1)
    others = others.astype(np.float32) - 128             # whole numbers: no sum is rounded
    lengths = (others**2).sum(1)
    order = np.argsort(grey)
    for start in range(0, len(looks), CHUNK):
        some = order[start:start + CHUNK]
        first = np.searchsorted(means, grey[some[0]] - within)
        last = np.searchsorted(means, grey[some[-1]] + within, 'right')
        mine = looks[some].astype(np.float32) - 128
        squares = lengths[first:last] - 2 * mine @ others[first:last].T
        squares += (mine**2).sum(1, keepdims=True)
        if skip_equal:
            squares[squares == 0] = np.inf
        nearest[some] = squares.min(1, initial=np.inf) / N_VALUES
    return nearest


def tolerance_of(looks):
    """The tolerance that fits a set of looks: TOLERANCE, or less where its images are alike.

    A quarter of the distance below which one image in a hundred, or two of fewer, have another one,
    of up to N_SAMPLED images against all.
    """
    if not len(looks):
        return TOLERANCE
    sampled = looks[np.linspace(0, len(looks) - 1, min(N_SAMPLED, len(looks))).astype(int)]
    nearest = squared_distances(sampled, looks, 4 * TOLERANCE, skip_equal=True)
    rank = min(max(2, len(nearest) // 100), len(nearest) - 1)
    return min(TOLERANCE, float(np.sort(nearest)[rank]) ** 0.5 / 4)


def trained_on(dataset):
    """What a manifest says of the images that weights are trained on.

    Returns:
        {name: value}, and the looks (N, N_VALUES); None: not those of a CelebADataset or of a part
        of one.
    """
    about, looks = {'n_images': len(dataset)}, looks_of(dataset)
    if looks is None or not len(looks):
        return about, None
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    about |= {'root': str(dataset.root), 'crop': dataset.crop, 'looks': checksum(looks),
              'tolerance': tolerance_of(looks)}
    return about | {'checksum': checksum(looks, dataset.crop, dataset.img_shape)}, looks


def checksum(looks, *how_cut):
    """The SHA-256 of looks in their order, and of how the images are cut."""
    return hashlib.sha256(np.ascontiguousarray(looks).tobytes()
                          + ' '.join(map(str, how_cut)).encode()).hexdigest()


def as_values(looks):
    """Each look (N, N_VALUES) as one value, which can be sorted and looked up: (N,)."""
    return np.ascontiguousarray(looks).view(f'V{N_VALUES}')[:, 0]
