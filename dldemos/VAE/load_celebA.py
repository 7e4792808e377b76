"""CelebA on disk -> batches of faces.

    python -m dldemos.VAE.load_celebA

prints the shape of one batch and saves its images in work_dirs/tmp.jpg.
"""
import sys

import numpy as np
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from dldemos.VAE.images.cache import cached_images, map_cache
from dldemos.VAE.images.grids import grid, save_picture
from dldemos.VAE.images.shuffle import ShuffledBatches, flip_half
from dldemos.VAE.images.which import CELEBA_ROOT, find_images, split  # noqa: F401
from dldemos.VAE.support.errors import exit_status
from dldemos.VAE.support.files import WORK_DIR, printable

CELEBA_IMAGE, CELEBA_CROP = (178, 218), 168        # its size; the article's middle square


def transform(image, img_shape, crop):
    """CenterCrop(crop), Resize(img_shape) and ToTensor of an RGB image (PIL), in bytes.

    Written out, for torchvision's own would keep threads from working side by side.
    """
    if crop == 'face':
        from dldemos.VAE.images.face import celeba_like
        image = celeba_like(image)
    if isinstance(crop, str):
        crop = CELEBA_CROP if image.size == CELEBA_IMAGE else min(image.size)
    side = min(*image.size, crop)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    image = image.crop((left, top, left + side, top + side))                       # CenterCrop
    image = image.resize(img_shape[::-1], Image.Resampling.BILINEAR)               # Resize
    return np.asarray(image).transpose(2, 0, 1)                                    # ToTensor


class CelebADataset(Dataset):
    """The images of a folder, an archive ... (images/sources.py), in the order of their names.

    An item is a float tensor (3, *img_shape) in [0, 1]; a list of indices gives a batch. All
    images are transformed once, into a cache beside `root`, which is then mapped into memory
    (images/cache.py). `looks` are what they are known by, uint8 (N, 64) (images/looks.py),
    `original_size` is what (width, height) they had, or None: not all the same.

    Args:
        crop: a number of pixels; 'auto': 168 for images of CelebA's size, 178 x 218, the
            largest square for others; 'face': the largest face, where CelebA has it.
        n_images: take the first so many by name; None: all.
        cache_dir: folder of the cache; None: that of `root`, or data/ where that is read-only.

    Raises:
        UserError: `root` is not there, or is no source of images.
    """

    def __init__(self, root, img_shape=(64, 64), crop='auto', n_images=None, cache_dir=None):
        self.root = root
        self.img_shape = tuple(img_shape)
        self.crop = crop
        self.cache, about = cached_images(root, self.img_shape, crop, cache_dir, n_images,
                                          transform)
        self.n_cached = len(about['names'])
        self.names = about['names'][:n_images]
        self.rows = np.array(about['rows'][:n_images])                 # where they lie in the cache
        self.partition = about['partition'] and about['partition'][:n_images]
        self.original_size = about['size'] and tuple(about['size'])
        self.pixels, looks = map_cache(self.cache, self.n_cached, self.img_shape)
        self.looks = looks[self.rows]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.read(index)

    def read(self, index):
        """The images of an index, or of several; from an accelerator: training/devices.py."""
        return self.read_pixels(index).float().div_(255)                           # ToTensor

    def __getitems__(self, indices):
        """The images of many indices, as DataLoader asks for them: a list of (3, *img_shape)."""
        return list(self[indices])

    def read_pixels(self, index):
        """The pixels of an index, or of several, as they are stored: uint8 (..., 3, *img_shape)."""
        if self.pixels is None:                    # mapped by each process for itself
            self.pixels, _ = map_cache(self.cache, self.n_cached, self.img_shape)
        return torch.from_numpy(self.pixels.take(self.rows[index], axis=0))

    def describe(self):
        """What the images are, in words: where, how many, their size, how they are cut."""
        size, crop = self.original_size, self.crop
        if crop == 'auto':
            crop = CELEBA_CROP if size == CELEBA_IMAGE else 'the largest square'
        size = f'{size[0]} x {size[1]}' if size else 'several sizes'
        return printable(f'{self.root}, {len(self):,} of {size}, crop {crop}')

    def __getstate__(self):
        return {**self.__dict__, 'pixels': None}


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


def main():
    dataloader = get_dataloader(find_images())
    print('images:', dataloader.dataset.describe())
    batch = next(iter(dataloader))
    print(tuple(batch.shape))
    save_picture(grid(batch, columns=4), f'{WORK_DIR}/tmp.jpg')


if __name__ == '__main__':
    sys.exit(exit_status(main))
