"""Images kept on an accelerator: when, and that the batches are those of the loader."""
from types import SimpleNamespace

import torch

from dldemos.VAE.load_celebA import get_dataloader
from dldemos.VAE.training import steps

CPU, CUDA, MPS, META = (torch.device(name) for name in ('cpu', 'cuda', 'mps', 'meta'))


def test_what_is_copied_through_pinned_memory():
    assert steps.goes_pinned(CPU, CUDA) and steps.goes_pinned(CPU, torch.device('cuda:1'))
    assert not any(steps.goes_pinned(source, device) for source, device in [
        (CPU, CPU), (CPU, MPS), (CUDA, CUDA), (CUDA, CPU), (CPU, META)])


def test_a_copy_to_cuda_is_pinned_and_not_waited_for():
    calls = []

    class Fake(SimpleNamespace):
        def pin_memory(self):
            calls.append('pinned')
            return self

        def to(self, device, **how):
            calls.append((torch.device(device).type, how))
            return self

    for source, device in [('cpu', 'cuda:0'), ('cuda', 'cuda'), ('cpu', 'mps'), ('cpu', 'cpu')]:
        steps.moved(Fake(device=torch.device(source)), device)
    assert calls == ['pinned', ('cuda', {'non_blocking': True}),
                     ('cuda', {}), ('mps', {}), ('cpu', {})]


def test_a_batch_on_the_cpu_is_the_same(images):
    batch = next(iter(get_dataloader(images)))
    found = steps.to_device(batch, 'cpu')
    assert torch.equal(found, batch) and found.is_contiguous(memory_format=torch.channels_last)
    assert steps.to_device(found, CPU) is found
