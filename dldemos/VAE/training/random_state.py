"""The random generators of the CPU and of the device in use: saved, restored, forked."""
from contextlib import contextmanager

import torch


def random_state(device):
    """{type of device: state} of the generators of the CPU and of `device`."""
    device = torch.device(device)
    state = {'cpu': torch.get_rng_state()}
    if device.type != 'cpu':
        state[device.type] = generators(device).get_rng_state(*which(device))
    return state


def set_random_state(state, device):
    """Put the generators back into a state; one saved on another type of device counts for
    what both have."""
    device = torch.device(device)
    torch.set_rng_state(state['cpu'])
    if device.type != 'cpu' and device.type in state:
        generators(device).set_rng_state(state[device.type], *which(device))


@contextmanager
def forked(device, seed=None):
    """Random numbers of the block's own; afterwards the generators are as they were before."""
    state = random_state(device)
    try:
        if seed is not None:
            torch.manual_seed(seed)
        yield
    finally:
        set_random_state(state, device)


def generators(device):
    """The module of torch that has the device's generators: torch.cuda, torch.mps ..."""
    return getattr(torch, device.type)


def which(device):
    """The arguments that name the device: CUDA has a generator for each of its devices."""
    return () if device.type == 'mps' else (device,)
