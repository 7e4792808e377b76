"""CelebA on disk -> batches of faces.

    python -m dldemos.VAE.load_celebA

prints the shape of one batch and saves its images in work_dirs/tmp.jpg.
"""
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, Subset

from dldemos.VAE.images.cache import (
    CELEBA_CROP,
    CELEBA_IMAGE,
    cached_images,
    map_looks,
    map_pixels,
    read_about,
)
from dldemos.VAE.images.grids import grid, save_picture
from dldemos.VAE.images.lists import partition
from dldemos.VAE.images.shuffle import ShuffledBatches
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.files import WORK_DIR, printable

CELEBA_ROOT = 'data/celebA/img_align_celeba'
SAMPLE_FACES = 'data/sample_faces'
TEST = 2                                           # the number of CelebA's test split
CELEBA_SIZE, CELEBA_TEST_START = 202599, 182637    # its test split: 182638.jpg to the end


class CelebADataset(Dataset):
    """The images of a folder, an archive ... (images/sources.py), in the order of their names.

    An item is a float tensor (3, *img_shape) in [0, 1]: the RGB image, its middle
    `crop` x `crop` pixels, where the face is, resized to `img_shape`. A list of indices
    gives a batch, (N, 3, *img_shape). All images are decoded once, into a cache beside
    `root`; see images/cache.py.

    `looks` are what the images are known by, uint8 (N, 64); see images/looks.py.

    Args:
        crop: a number of pixels; 'auto': 168 for images of CelebA's size, 178 x 218, the
            largest square for others; 'face': the largest face, where CelebA has it.
        n_images: take the first so many; None: all.

    Raises:
        UserError: `root` is not there, or is no source of images.
    """

    def __init__(self, root, img_shape=(64, 64), crop='auto', n_images=None, cache_dir=None):
        self.root = root
        self.img_shape = tuple(img_shape)
        self.crop = crop
        self.cache, names = cached_images(root, self.img_shape, crop, cache_dir, n_images)
        self.n_cached = len(names)
        self.names = names[:n_images]
        self.looks = np.array(map_looks(self.cache, self.n_cached, self.img_shape)[:n_images])
        self.pixels = map_pixels(self.cache, self.n_cached, self.img_shape)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if hasattr(index, 'tolist'):               # a tensor or an array of indices
            index = index.tolist()
        rows = range(len(self))
        if isinstance(index, slice):
            return self.read(list(rows[index]))
        if isinstance(index, list):
            return self.read([rows[i] for i in index])
        return self.read([rows[index]])[0]

    def __getitems__(self, indices):
        """The images of many indices, as DataLoader asks for them: a list of (3, *img_shape)."""
        return list(self[indices])

    def read(self, indices):
        """The images of a list of indices, float (N, 3, *img_shape) in [0, 1]."""
        return self.read_pixels(indices).float().div_(255)

    def read_pixels(self, indices):
        """Their pixels as they are stored, uint8 (N, 3, *img_shape)."""
        if self.pixels is None:                    # mapped by each process for itself
            self.pixels = map_pixels(self.cache, self.n_cached, self.img_shape)
        return torch.from_numpy(self.pixels[indices])

    @property
    def original_size(self):
        """(width, height) in pixels of the images before they were cut; None: not all the same."""
        size = read_about(self.cache)['size']
        return size and tuple(size)

    def describe(self):
        """What the images are, in words: where, how many, their size, how they are cut."""
        size, crop = self.original_size, self.crop
        if crop == 'auto':
            crop = CELEBA_CROP if size == CELEBA_IMAGE else 'the largest square'
        size = f'{size[0]} x {size[1]}' if size else 'several sizes'
        return printable(f'{self.root}, {len(self):,} of {size}, crop {crop}')

    def parts(self):
        """CelebA's partition: 0 (training), 1 (validation), 2 (test) of each; None: unknown."""
        recorded = read_about(self.cache)['parts'][:len(self)]
        return partition(self.root, self.names, recorded)

    def __getstate__(self):
        return {**self.__dict__, 'pixels': None}


def flip_half(images):
    """Flip each image (N, 3, H, W) horizontally in one of two cases: other faces, for free."""
    chosen = chosen_half(len(images))
    images[chosen] = images[chosen].flip(-1)
    return images


def chosen_half(n_images):
    """Which of n_images are flipped, each in one of two cases: bool (n_images,), on the CPU."""
    return torch.rand(n_images) < 0.5


def split(dataset, held_out):
    """The training and the held-out split of a dataset, two Subsets.

    Args:
        held_out: the share that is not trained on, the last ones by name in each folder. Where
            CelebA's partition is known, 0.1 is its test split instead, its validation split
            being trained on; so it is of the whole of CelebA without the list.
    """
    n, names = len(dataset), getattr(dataset, 'names', [''] * len(dataset))
    parts = dataset.parts() if held_out == 0.1 and hasattr(dataset, 'parts') else None
    if parts and 0 < parts.count(TEST) < n:
        chosen = {i for i in range(n) if parts[i] == TEST}
    elif n == CELEBA_SIZE and held_out == 0.1 and names[-1].endswith('202599.jpg'):
        chosen = set(range(CELEBA_TEST_START, n))
    else:
        chosen = set(last_of_folders(names, held_out))
    return (Subset(dataset, [i for i in range(n) if i not in chosen]),
            Subset(dataset, sorted(chosen)))


def last_of_folders(names, share):
    """Indices of the last names of each folder; of many small ones together, such a share."""
    folders = {}
    for i, name in enumerate(names):
        folders.setdefault(name.rpartition('/')[0], []).append(i)
    n_seen, chosen = 0, []
    for indices in folders.values():
        n_seen += len(indices)
        wanted = round(share * n_seen) - len(chosen)
        chosen += indices[max(0, len(indices) - wanted):]
    return chosen


def batches(dataset, batch_size=16, shuffle=True, seed=0, rank=0, n_processes=1, mirror=False):
    """A loader of float batches (batch_size, 3, H, W) in [0, 1]; same seed, same order.

    mirror: flip half of the shuffled images, others in every epoch.
    """
    sampler = (ShuffledBatches(len(dataset), batch_size, seed, rank, n_processes) if shuffle else
               BatchSampler(SequentialSampler(dataset), batch_size, drop_last=False))
    return DataLoader(dataset, batch_size=None, sampler=sampler,     # a batch is one read
                      collate_fn=flip_half if shuffle and mirror else None)


def get_dataloader(root=CELEBA_ROOT, batch_size=16, img_shape=(64, 64), seed=0, **kwargs):
    """Shuffled batches (batch_size, 3, *img_shape) of all images of a source.

    Other keywords go to CelebADataset: get_dataloader(root, n_images=100).
    """
    return batches(CelebADataset(root, img_shape, **kwargs), batch_size, seed=seed)


def find_celeba():
    """CelebA's folder or zip at the default place; None if it is not there."""
    places = (CELEBA_ROOT, CELEBA_ROOT + '.zip')
    return next((place for place in places if Path(place).exists()), None)


def find_images(root=None):
    """Where the images are: at `root` if it is given, else CelebA, else sample faces.

    Raises:
        UserError: there is nothing at the given root.
    """
    if root is not None:
        if not Path(root).exists():
            raise UserError(f'there is nothing at {root}: give a folder, a zip ... of images, or '
                            f'no --data_root at all to train on sample faces')
        return root
    celeba = find_celeba()
    if celeba is None:
        print(f'no CelebA in {CELEBA_ROOT} or {CELEBA_ROOT}.zip: sample faces in its place, which '
              f'the bundled model drew (data/README.md says where to get CelebA)')
        from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
        return draw_sample_faces(SAMPLE_FACES)
    return celeba


def main():
    dataloader = get_dataloader(find_images())
    print('images:', dataloader.dataset.describe())
    batch = next(iter(dataloader))
    print(tuple(batch.shape))
    save_picture(grid(batch, columns=4), f'{WORK_DIR}/tmp.jpg')


if __name__ == '__main__':
    sys.exit(exit_status(main))
