"""One process or several: what torchrun started, seen from one of them.

Without torchrun every function here is right for a single process, so that the program
has one code path.
"""
import os
import sys
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from dldemos.VAE.errors import UserError


def join_processes(device):
    """Meet the other processes, if torchrun started any; returns this one's own device.

    The first process speaks for all: the standard output of the others goes nowhere.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        return device
    if device.type == 'mps':
        raise UserError('several processes cannot share an Apple GPU: add --device cpu')
    if device.type == 'cuda':
        device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(device)
    distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo',
                                   timeout=timedelta(hours=12))   # decoding all of CelebA
    if not is_first():
        sys.stdout = open(os.devnull, 'w')                        # noqa: SIM115
    return device


def leave_processes():
    """Release the GPUs' connections; gloo's end with the process, and could block here."""
    if distributed.is_initialized() and distributed.get_backend() == 'nccl':
        distributed.destroy_process_group()


def n_processes():
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank():
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first():
    return rank() == 0


@contextmanager
def first_process_first():
    """Run the block in each machine's first process, then in the others."""
    waits = distributed.is_initialized() and os.environ['LOCAL_RANK'] != '0'
    if waits:
        distributed.barrier()
    yield
    if distributed.is_initialized() and not waits:
        distributed.barrier()


def share(model, device):
    """The model to train with: each step averages the gradients of all processes."""
    if n_processes() == 1:
        return model
    return DistributedDataParallel(model, [device.index] if device.type == 'cuda' else None)


def add_up(tensor):
    """The sum of a tensor over all processes, in place."""
    if n_processes() > 1:
        distributed.all_reduce(tensor)
    return tensor


def collect(value):
    """The values of all processes, in the order of their ranks."""
    if n_processes() == 1:
        return [value]
    values = [None] * n_processes()
    distributed.all_gather_object(values, value)
    return values
