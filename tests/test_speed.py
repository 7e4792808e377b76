"""Faster layers compute the same; memory that is freed is kept."""
import copy
import platform
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY

from dldemos.VAE import main as program
from dldemos.VAE.model import VAE
from dldemos.VAE.training import speed

FAULTS = '''
import resource, torch
from dldemos.VAE.training.speed import keep_freed_memory
def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(9):
        blocks = torch.ones(48, 2**18), torch.ones(48, 2**18)        # 48 MB each
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(new_pages())
keep_freed_memory()
new_pages()
print(new_pages())
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='it is for glibc')
def test_freed_memory_is_kept():
    done = subprocess.run([sys.executable, '-c', FAULTS], cwd=REPOSITORY, capture_output=True,
                          text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10


CPU = torch.device('cpu')


def gradients(model, images):
    torch.manual_seed(2)
    model.train()
    loss = program.loss_fn(images, *model(images), 0.1)
    loss.backward()
    found = {name: value.grad for name, value in model.named_parameters()}
    model.zero_grad()
    return loss.item(), found


@pytest.mark.parametrize('hiddens, image_size', [((4, 8, 8, 8, 8), 64), ((16, 32), 16), ((9,), 8)])
def test_faster_layers_give_the_same_loss_and_gradients(hiddens, image_size):
    torch.manual_seed(0)
    model = VAE(hiddens, 8, image_size)
    images = torch.rand(6, 3, image_size, image_size)
    loss, expected = gradients(model, images)
    with speed.faster_layers(model, CPU):
        faster_loss, faster = gradients(model, images)
    assert faster_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in faster.items():
        if gradient is None:                       # a bias before a batch normalisation
            assert name.endswith('.0.bias') and 'coder.' in name
            assert expected[name].abs().max() < 1e-5
        else:
            torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3)
    assert sum(gradient is None for gradient in faster.values()) == 2 * len(hiddens)


def test_faster_layers_are_plain_again_after_the_block():
    model = VAE((16, 32), 8)
    first = model.encoder[0][0]
    first.bias.requires_grad = False               # a user's own wish
    layers, names = [type(layer) for layer in model.modules()], list(model.state_dict())
    with pytest.raises(KeyboardInterrupt), speed.faster_layers(model, CPU):
        assert [type(layer) for layer in model.modules()] != layers
        assert list(model.state_dict()) == names
        copy.deepcopy(model)(torch.rand(2, 3, 64, 64))[0].sum().backward()
        raise KeyboardInterrupt
    assert [type(layer) for layer in model.modules()] == layers
    assert not any(layer.inplace for layer in model.modules() if isinstance(layer, torch.nn.ReLU))
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == [
        'encoder.0.0.bias']


def test_a_bias_before_a_frozen_normalisation_is_trained():
    class Frozen(VAE):
        def train(self, mode=True):
            super().train(mode)
            self.encoder[0][1].eval()
            return self

    model = Frozen((16, 32), 8)
    with speed.faster_layers(model, CPU):
        assert model.encoder[0][0].bias.requires_grad
        assert not model.encoder[1][0].bias.requires_grad


def test_a_bias_that_is_computed_is_left_alone():
    model = VAE((16, 32), 8)
    torch.nn.utils.parametrize.register_parametrization(model.encoder[0][0], 'bias',
                                                        torch.nn.Softplus())
    with speed.faster_layers(model, CPU):
        model(torch.rand(2, 3, 64, 64))[0].sum().backward()
    assert model.encoder[0][0].parametrizations.bias.original.grad is not None


def test_layers_stay_as_they_are_elsewhere_than_on_a_cpu():
    model = VAE((16, 32), 8)
    layers = [type(layer) for layer in model.modules()]
    with speed.faster_layers(model, torch.device('cuda')):
        assert [type(layer) for layer in model.modules()] == layers
        assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize('how', [
    {'stride': 2}, {'dilation': 2}, {'groups': 2}, {'padding_mode': 'circular'},
    {'padding': 'same'}, {'padding': 3}, {'padding': (1, 0)}, {'kernel_size': 5}, {'bias': False},
    {}])
def test_only_convolutions_that_stay_the_same_are_turned(how):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(16, 4, **{'kernel_size': 3, 'padding': 1, **how})
    model, images = torch.nn.Sequential(layer, torch.nn.ReLU()), torch.rand(2, 16, 9, 9)
    expected = model(images)
    with speed.faster_layers(model, CPU):
        assert isinstance(layer, speed.TurnedConv2d) == (how in ({}, {'bias': False}))
        torch.testing.assert_close(model(images), expected)
