"""The generators of the device in use; CUDA's and MPS's are imitated where there are none."""
import types

import pytest
import torch

from dldemos.VAE.training import random_state as module
from dldemos.VAE.training import speed
from dldemos.VAE.training.random_state import forked, random_state, set_random_state


class Generators:
    """Takes the place of torch.cuda, which has a generator for each device."""

    def __init__(self):
        self.states = {}

    def get_rng_state(self, device):
        return self.states.get(str(device), 'untouched')

    def set_rng_state(self, state, device):
        self.states[str(device)] = state


class OneGenerator:
    """Takes the place of torch.mps, which has one and takes no device."""
    state = 'untouched'

    def get_rng_state(self):
        return self.state

    def set_rng_state(self, state):
        self.state = state


def test_the_state_is_that_of_the_device_in_use(monkeypatch):
    cuda = Generators()
    monkeypatch.setattr(module, 'generators', lambda device: cuda)
    cuda.states = {'cuda:0': 'of the first', 'cuda:1': 'of the second'}
    state = random_state('cuda:1')
    assert state['cuda'] == 'of the second'
    cuda.states['cuda:1'] = 'later'
    set_random_state(state, torch.device('cuda:1'))
    assert cuda.states == {'cuda:0': 'of the first', 'cuda:1': 'of the second'}


@pytest.mark.parametrize('device, generators', [('mps', OneGenerator()), ('cuda:1', Generators())])
def test_evaluation_leaves_the_noise_of_training_alone(monkeypatch, device, generators):
    monkeypatch.setattr(module, 'generators', lambda device: generators)
    before = random_state(device)
    with forked(device, seed=3):
        set_random_state({**before, torch.device(device).type: 'used'}, device)
    after = random_state(device)
    assert torch.equal(after.pop('cpu'), before.pop('cpu'))
    assert after == before


def test_forked_numbers_are_those_of_the_seed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with forked('cpu', seed=1):
        first = torch.rand(2)
    assert torch.equal(torch.rand(3), expected)
    with pytest.raises(ZeroDivisionError), forked('cpu', seed=1):
        assert torch.equal(torch.rand(2), first)
        raise ZeroDivisionError
    with forked('cpu', seed=1):
        assert torch.equal(torch.rand(2), first)


@pytest.mark.parametrize('largest_mmap, answers', [
    (1 << 31, [(speed.M_MMAP_THRESHOLD, 1 << 30), (speed.M_TRIM_THRESHOLD, (1 << 31) - 1)]),
    (32 << 20, [(speed.M_MMAP_THRESHOLD, 32 << 20), (speed.M_TRIM_THRESHOLD, (1 << 31) - 1)]),
    (0, [])])
def test_thresholds_are_set_both_or_neither(largest_mmap, answers):
    """An older glibc answers 0 to an mmap threshold above 32 MB."""
    accepted = []

    def mallopt(which, value):
        if which == speed.M_MMAP_THRESHOLD and value > largest_mmap:
            return 0
        accepted.append((which, value))
        return 1

    assert speed.set_thresholds(mallopt) is bool(answers)
    assert accepted == answers


def test_the_device_is_torchs_accelerator_or_the_cpu(monkeypatch):
    from dldemos.VAE.training.processes import choose_device
    for there_is, expected in ((False, 'cpu'), (True, 'mps')):
        monkeypatch.setattr(torch, 'accelerator', types.SimpleNamespace(
            is_available=lambda there_is=there_is: there_is,
            current_accelerator=lambda: torch.device('mps')))
        assert choose_device('auto').type == expected
