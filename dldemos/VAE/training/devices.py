"""The device in use: chosen, its random numbers, and images that are read there."""
import math
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import Subset

from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.support.errors import UserError

SHARE = 0.5                        # of the free memory, at most; the rest is for the steps


def choose_device(name):
    """'auto' or a name of torch's -> torch.device that works here; UserError otherwise."""
    if name == 'auto':
        there_is = torch.accelerator.is_available()
        return torch.accelerator.current_accelerator() if there_is else torch.device('cpu')
    try:
        torch.zeros(1, device=name).tolist()              # 'meta' has no values to give
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f'the device {name} cannot be used here '
                        f'({str(error).splitlines()[0]}): try --device auto') from error


def random_state(device):
    """{type of device: state} of the random generators of the CPU and of `device`."""
    state = {'cpu': torch.get_rng_state()}
    if device.type != 'cpu':
        state[device.type] = torch.get_device_module(device).get_rng_state(*which(device))
    return state


def set_random_state(state, device):
    """Put the generators back into a state, as far as it was saved on this type of device."""
    torch.set_rng_state(state['cpu'])
    if device.type != 'cpu' and device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type], *which(device))


def which(device):
    """The argument that names a device's generator: Apple's GPU has one, and takes none."""
    return () if device.type == 'mps' else (device,)


def moved(tensor, device):
    """A tensor on a device; a copy to CUDA goes on beside what the program does next."""
    if tensor.device.type == 'cpu' and device.type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def images_on(device, *dataloaders):
    """While the block runs, images of a CelebADataset are read on an accelerator.

    The batches are bit for bit those of the CPU, from the same random numbers. On a CPU, and where
    the pixels do not fit, nothing changes.

    Args:
        device: a torch.device.
        dataloaders: of any kind, or None.
    """
    datasets = {dataset_of(dataloader) for dataloader in dataloaders} - {None}
    datasets = [dataset for dataset in datasets if fits(dataset, device)]
    try:
        for dataset in datasets:
            dataset.read = reader_on(device, dataset)
        yield
    finally:
        for dataset in datasets:
            del dataset.read


def dataset_of(dataloader):
    """The CelebADataset of a loader, or of a part of one; None of others, and for workers."""
    if getattr(dataloader, 'num_workers', 0):      # processes, which the device is not open in
        return None
    dataset = getattr(dataloader, 'dataset', None)
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if type(dataset) is CelebADataset else None


def fits(dataset, device):
    """Whether all pixels may lie on a device beside the steps; on a CPU never."""
    n_bytes = len(dataset) * 3 * math.prod(dataset.img_shape)
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


def reader_on(device, dataset):
    """What takes the place of a dataset's `read`: indices -> images (N, 3, H, W) on the device."""
    pixels, rows = dataset.read_pixels(slice(None)).to(device), np.arange(len(dataset))
    # divided on the CPU: CUDA multiplies by 1 / 255 instead, which rounds otherwise
    values = (torch.arange(256).float() / 255).to(device)

    def read(index):
        return values[pixels[moved(torch.as_tensor(rows[index]), device)].long()]
    return read
