"""CelebA on disk -> batches of faces.

    python -m dldemos.VAE.load_celebA

prints the shape of one batch and saves its images in work_dirs/tmp.jpg.
"""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from dldemos.VAE.images.cache import cached_images, map_pixels
from dldemos.VAE.images.grids import grid, save_picture
from dldemos.VAE.images.synthetic import draw_sample_faces
from dldemos.VAE.support.errors import UserError, exit_status

CELEBA_ROOT = 'data/celebA/img_align_celeba'
CELEBA_SIZE, CELEBA_TEST_START = 202599, 182637    # its test split: 182638.jpg to the end


class CelebADataset(Dataset):
    """The images of a folder or a zip, in the order of their names.

    An item is a float tensor (3, *img_shape) in [0, 1]: the RGB image, its middle
    `crop` x `crop` pixels, where the face is, resized to `img_shape`. All images are
    decoded once, into a cache beside `root`; see image_cache.

    Args:
        n_images: take the first so many; None: all.

    Raises:
        UserError: `root` is not there, or is no source of images.
    """

    def __init__(self, root, img_shape=(64, 64), crop=168, n_images=None, cache_dir=None):
        self.root = root
        self.img_shape = tuple(img_shape)
        self.cache, names = cached_images(root, self.img_shape, crop, cache_dir)
        self.n_cached = len(names)
        self.names = names[:n_images]
        self.pixels = None

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return to_float(self.__getitems__([range(len(self))[index]])[0])

    def __getitems__(self, indices):
        """The images of many indices at once, uint8 (N, 3, *img_shape)."""
        if self.pixels is None:                    # mapped by each process for itself
            self.pixels = map_pixels(self.cache, self.n_cached, self.img_shape)
        return torch.from_numpy(self.pixels[indices])

    def __getstate__(self):
        return {**self.__dict__, 'pixels': None}


def to_float(pixels):
    """uint8 0..255 -> float 0..1"""
    return pixels.float().div_(255)


def mirrored_to_float(pixels):
    """The same, each image mirrored left to right in one of two cases: other faces, for free."""
    chosen = torch.rand(len(pixels)) < 0.5
    pixels[chosen] = pixels[chosen].flip(-1)
    return to_float(pixels)


def split(dataset, held_out):
    """Part a dataset into what is trained on and what is not, two Subsets.

    Args:
        held_out: the share that is not trained on, the last ones by name. The whole of
            CelebA, for 0.1, is parted at its own test split instead.
    """
    n = len(dataset)
    first = n - round(held_out * n)
    if n == CELEBA_SIZE and held_out == 0.1 and dataset.names[-1].endswith('202599.jpg'):
        first = CELEBA_TEST_START
    return Subset(dataset, range(first)), Subset(dataset, range(first, n))


class ShuffledBatches:
    """The indices of an epoch in batches, in an order that seed and epoch decide.

    Several processes get parts that have no image in common and that together have all of
    them, in the same number of batches. Every pass is the next epoch; set_epoch jumps to one.
    """

    def __init__(self, n_images, batch_size, seed=0, rank=0, n_processes=1):
        if n_processes > 1 and (batch_size == 1 or n_images < n_processes):
            raise UserError(f'{n_images} images in batches of {batch_size} cannot be shared '
                            f'among {n_processes} processes: take larger batches, or fewer '
                            f'processes')
        self.n_images, self.batch_size, self.seed = n_images, batch_size, seed
        self.rank, self.n_processes = rank, n_processes
        self.epoch = 1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        most = -(-self.n_images // self.n_processes)       # images of the first process
        return -(-most // self.batch_size)

    def __iter__(self):
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        self.epoch += 1
        order = torch.randperm(self.n_images, generator=generator).tolist()
        order = order[self.rank::self.n_processes]
        parts = [order[i:i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if len(parts) < len(self):                         # an image less than the first process
            half = len(parts[-1]) // 2
            parts[-1:] = [parts[-1][:half], parts[-1][half:]]
        return iter(parts)


def batches(dataset, batch_size=16, shuffle=True, seed=0, rank=0, n_processes=1, mirror=False):
    """A loader of float batches (batch_size, 3, H, W) in [0, 1]; same seed, same order.

    mirror: mirror half of the shuffled images, others in every epoch.
    """
    if not shuffle:
        return DataLoader(dataset, batch_size, collate_fn=to_float)
    sampler = ShuffledBatches(len(dataset), batch_size, seed, rank, n_processes)
    return DataLoader(dataset, batch_sampler=sampler,
                      collate_fn=mirrored_to_float if mirror else to_float)


def get_dataloader(root=CELEBA_ROOT, batch_size=16, img_shape=(64, 64), seed=0):
    """Shuffled batches (batch_size, 3, *img_shape) of all images of a folder or zip."""
    return batches(CelebADataset(root, img_shape), batch_size, seed=seed)


def find_celeba():
    """CelebA's folder or zip at the default place; None if it is not there."""
    places = (CELEBA_ROOT, CELEBA_ROOT + '.zip')
    return next((place for place in places if Path(place).exists()), None)


def find_images(root=None):
    """What to train on: `root` if one is given, else CelebA, else drawn faces.

    Raises:
        UserError: there is nothing at the given root.
    """
    if root is not None:
        if not Path(root).exists():
            raise UserError(f'there is nothing at {root}: give a folder or a zip of images, or '
                            f'no --data_root at all to train on drawn faces')
        return root
    celeba = find_celeba()
    if celeba:
        return celeba
    print(f'No CelebA in {CELEBA_ROOT} or {CELEBA_ROOT}.zip.')
    print('Instead, faces that this program draws once, in data/sample_faces.')
    print('For photographs: data/README.md says where to get CelebA and where to put it.')
    return draw_sample_faces()


def main():
    dataloader = get_dataloader(find_images())
    batch = next(iter(dataloader))
    print(tuple(batch.shape))
    save_picture(grid(batch, columns=4), 'work_dirs/tmp.jpg')


if __name__ == '__main__':
    sys.exit(exit_status(main))
