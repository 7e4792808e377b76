"""Faster steps that compute the same: memory that is kept, and a compiled loss."""
import ctypes
import sys
import time

import torch

from dldemos.VAE.training import processes
from dldemos.VAE.training.random_state import forked

COMPILE_PAYS_FROM = 200_000      # images: compiling takes the time of some 15,000 of them
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3    # mallopt(3)


def keep_freed_memory():
    """Have glibc keep large freed blocks instead of asking the kernel for new pages.

    The activations of every step are such blocks, and each new page costs a fault.
    Elsewhere than on Linux with glibc this does nothing.
    """
    if not sys.platform.startswith('linux'):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        set_thresholds(libc.mallopt)


def set_thresholds(mallopt):
    """Set both thresholds of mallopt(3), or neither; returns whether they were set.

    It answers 0 where it refuses: older versions take no mmap threshold above 32 MB, and the
    trim threshold alone would leave them slower than they were.
    """
    return any(mallopt(M_MMAP_THRESHOLD, size) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
               for size in (1 << 30, 32 << 20))


def compile_loss(compute_loss, network, dataloader, device, n_epochs, how='auto'):
    """A compiled version of compute_loss(network, images), where that pays.

    The network's statistics and the random state are left as they are. Batches of another
    shape than the first, as the last of an epoch may be, are not compiled for.

    Args:
        how: 'on', 'off', or 'auto': in a single process on a CPU or CUDA, for a run of
            COMPILE_PAYS_FROM images or more, epochs counted.

    Returns:
        A function that does the same as compute_loss.
    """
    if how == 'auto':
        n_images = n_epochs * len(getattr(dataloader, 'dataset', ()))
        pays = n_images >= COMPILE_PAYS_FROM and device.type in ('cpu', 'cuda')
        how = 'on' if pays and processes.n_processes() == 1 else 'off'
    if how == 'off':
        return compute_loss
    start = time.time()
    print('compiling ...', flush=True)
    with forked(device):               # iterating draws a number
        shape = next(iter(dataloader)).shape
    example = torch.zeros(shape, device=device).to(memory_format=torch.channels_last)
    compiled = torch.compile(compute_loss)
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    network.train()
    try:
        with forked(device):
            compiled(network, example)[0].backward()
    except Exception as error:         # a compiler can be absent or fail in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f'no compiler here, training goes on without ({reason[:120]})')
        return compute_loss
    finally:
        network.zero_grad(set_to_none=True)
        for name, value in network.named_buffers():
            value.copy_(statistics[name])
    print(f'compiled in {time.time() - start:.0f} s')

    def step_loss(network, images):
        return (compiled if images.shape == shape else compute_loss)(network, images)
    return step_loss
