"""Training images on an accelerator, where they fit: a batch is gathered there."""
from contextlib import contextmanager

import torch
from torch.utils.data import Subset

from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.training.steps import moved

SHARE = 0.5                        # of the free memory, at most; the rest is for the steps
CHUNK_BYTES = 64 * 2**20           # copied at a time: the main memory never holds all pixels


@contextmanager
def images_on(device, *dataloaders):
    """While the block runs, images of a CelebADataset are read on an accelerator.

    The batches are bit for bit those of the CPU, from the same random numbers. On a CPU, and where
    the pixels do not fit, nothing changes.

    Args:
        device: a torch.device.
        dataloaders: of any kind, or None.
    """
    datasets = [dataset for dataset in {dataset_of(dataloader) for dataloader in dataloaders}
                if dataset is not None and fits(n_bytes(dataset), device)]
    try:
        for dataset in datasets:
            dataset.read = Gather(dataset, device)
        yield
    finally:
        for dataset in datasets:
            del dataset.read


def dataset_of(dataloader):
    """The CelebADataset of a loader, or of a part of one; None of others, and of workers."""
    if getattr(dataloader, 'num_workers', 0):      # processes, which the device is not open in
        return None
    dataset = getattr(dataloader, 'dataset', None)
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if type(dataset) is CelebADataset else None


def n_bytes(dataset):
    """The bytes of the pixels of all images."""
    height, width = dataset.img_shape
    return len(dataset) * 3 * height * width


def fits(n_bytes, device):
    """Whether pixels of n_bytes may lie on a device beside the steps; on a CPU never."""
    if device.type == 'mps' and n_bytes >= 2**31:
        return False       # torch up to 2.13 may read zeros beyond: pytorch's issue 188756
    return n_bytes < SHARE * free_memory(device)


def free_memory(device):
    """The bytes that are free on a CUDA device or Apple's GPU; 0 on others."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    if device.type == 'mps':
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return 0


class Gather:
    """Takes the place of a dataset's `read`: indices -> images (N, 3, H, W) on the device."""

    def __init__(self, dataset, device):
        self.pixels = torch.empty((len(dataset), 3, *dataset.img_shape), dtype=torch.uint8,
                                  device=device)
        n_images = max(1, CHUNK_BYTES * len(dataset) // n_bytes(dataset))
        for start in range(0, len(dataset), n_images):
            indices = list(range(start, min(start + n_images, len(dataset))))
            self.pixels[start:start + n_images].copy_(dataset.read_pixels(indices))
        # divided on the CPU: CUDA multiplies by 1 / 255 instead, which rounds otherwise
        self.values = torch.arange(256).float().div_(255).to(device)

    def __call__(self, indices):
        indices = moved(torch.tensor(indices), self.pixels.device)
        return self.values[self.pixels[indices].long()]
