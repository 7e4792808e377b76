"""CelebA on disk -> batches of faces.

    python -m dldemos.VAE.load_celebA

prints the shape of one batch and saves its images in work_dirs/tmp.jpg.
"""
import hashlib
import sys
from pathlib import Path

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, Subset

from dldemos.VAE.images.cache import cached_images, map_pixels, read_about
from dldemos.VAE.images.grids import grid, save_picture
from dldemos.VAE.images.lists import partition
from dldemos.VAE.images.shuffle import ShuffledBatches
from dldemos.VAE.images.synthetic import draw_sample_faces
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.files import WORK_DIR

CELEBA_ROOT = 'data/celebA/img_align_celeba'
TEST = 2                                           # the number of CelebA's test split
CELEBA_SIZE, CELEBA_TEST_START = 202599, 182637    # its test split: 182638.jpg to the end


class CelebADataset(Dataset):
    """The images of a folder, an archive ... (images/sources.py), in the order of their names.

    An item is a float tensor (3, *img_shape) in [0, 1]: the RGB image, its middle
    `crop` x `crop` pixels, where the face is, resized to `img_shape`. A list of indices
    gives a batch, (N, 3, *img_shape). All images are decoded once, into a cache beside
    `root`; see images/cache.py.

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
        self.cache, names = cached_images(root, self.img_shape, crop, cache_dir)
        self.n_cached = len(names)
        self.names = names[:n_images]
        self.pixels = None

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

    def fingerprint(self, indices):
        """A hash of which images these are, of their files and of how they were decoded."""
        names = '\0'.join(self.names[i] for i in indices)
        key = read_about(self.cache)['key']
        return hashlib.sha256(f'{key}\0{names}'.encode(errors='surrogateescape')).hexdigest()

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
        held_out: the share that is not trained on, the last ones by name. Where CelebA's
            partition is known, 0.1 is its test split instead, its validation split being
            trained on; so it is of the whole of CelebA without the list.
    """
    n = len(dataset)
    parts = dataset.parts() if held_out == 0.1 and hasattr(dataset, 'parts') else None
    if parts and 0 < parts.count(TEST) < n:
        return tuple(Subset(dataset, [i for i in range(n) if (parts[i] == TEST) == is_test])
                     for is_test in (False, True))
    first = n - round(held_out * n)
    if n == CELEBA_SIZE and held_out == 0.1 and dataset.names[-1].endswith('202599.jpg'):
        first = CELEBA_TEST_START
    return Subset(dataset, range(first)), Subset(dataset, range(first, n))


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
    """What to train on: `root` if one is given, else CelebA, else synthetic faces.

    Raises:
        UserError: there is nothing at the given root.
    """
    if root is not None:
        if not Path(root).exists():
            raise UserError(f'there is nothing at {root}: give a folder, a zip ... of images, or '
                            f'no --data_root at all to train on synthetic faces')
        return root
    celeba = find_celeba()
    if celeba:
        return celeba
    print(f'No CelebA in {CELEBA_ROOT} or {CELEBA_ROOT}.zip.')
    print('Instead, synthetic faces that this program draws once, in data/sample_faces.')
    print('For photographs: data/README.md says where to get CelebA and where to put it.')
    return draw_sample_faces()


def main():
    dataloader = get_dataloader(find_images())
    batch = next(iter(dataloader))
    print(tuple(batch.shape))
    save_picture(grid(batch, columns=4), f'{WORK_DIR}/tmp.jpg')


if __name__ == '__main__':
    sys.exit(exit_status(main))
