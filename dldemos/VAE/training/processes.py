"""One process or several: what torchrun started, seen from one of them.

Without torchrun every function here is right for a single process, so that the program
has one code path.
"""
import gc
import os
import sys
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from dldemos.VAE.support.errors import UserError

together = False           # whether this process works with others that torchrun started


def join_processes(device):
    """Meet the other processes, if torchrun started any; returns this one's own device.

    Rank 0 speaks for all: the standard output of the others goes nowhere.
    """
    global together
    if not distributed.is_torchelastic_launched():
        return device
    if device.type == 'mps':
        raise UserError('several processes cannot share an Apple GPU: add --device cpu')
    if device.type == 'cuda':
        device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        if device.index >= torch.cuda.device_count():
            raise UserError(f'each process needs a GPU of its own, and there are only '
                            f'{torch.cuda.device_count()}: start fewer with --nproc_per_node, or '
                            f'add --device cpu')
        torch.cuda.set_device(device)
    distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo',
                                   timeout=timedelta(hours=12),   # decoding all of CelebA
                                   device_id=device if device.type == 'cuda' else None)
    together = True
    if not is_rank_0():
        sys.stdout = open(os.devnull, 'w')                        # noqa: SIM115
    return device


def leave_processes():
    """Go on as a single process, when all have come this far; whether this one goes on.

    gloo's connections are left to the end of the process: torch 2.6 can block for good in
    tearing them down, as a thread of theirs waits for the interpreter that it holds.
    """
    global together
    goes_on = is_rank_0()
    if together:
        distributed.barrier()
        together = False
        if distributed.get_backend() == 'nccl':
            distributed.destroy_process_group()
    return goes_on


def end_process(status):
    """End with an exit status, without Python's tidying up where torchrun began it.

    gloo's threads may still want the interpreter then, and would abort ("terminate called
    without an active exception").
    """
    if not distributed.is_torchelastic_launched():
        gc.freeze()        # or Python takes a second to look through all that torch imported
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def n_processes():
    return distributed.get_world_size() if together else 1


def rank():
    return distributed.get_rank() if together else 0


def is_rank_0():
    return rank() == 0


@contextmanager
def rank_0_first():
    """Run the block in each machine's local rank 0, then in the others."""
    waits = together and os.environ['LOCAL_RANK'] != '0'
    if waits:
        distributed.barrier()
    yield
    if together and not waits:
        distributed.barrier()


def share(model, device):
    """The model to train with: each step averages the gradients of all processes."""
    if n_processes() == 1:
        return model
    return DistributedDataParallel(model, [device.index] if device.type == 'cuda' else None)


def all_reduce(tensor):
    """The sum of a tensor over all processes, in place."""
    if n_processes() > 1:
        distributed.all_reduce(tensor)
    return tensor


def all_gather(value):
    """The values of all processes, in the order of their ranks."""
    if n_processes() == 1:
        return [value]
    values = [None] * n_processes()
    distributed.all_gather_object(values, value)
    return values
