"""Faster steps that compute the same: memory that is kept, faster layers."""
import ctypes
import platform
from contextlib import contextmanager
from itertools import pairwise

import torch.nn.functional as F
from torch import nn

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3    # mallopt(3)
FEW_CHANNELS = 8                 # as many floats as a CPU's vector instructions take at once


def keep_freed_memory():
    """Have glibc keep large freed blocks instead of asking the kernel for new pages.

    The activations of every step are such blocks, and each new page costs a fault.
    Elsewhere than on Linux with glibc this does nothing.
    """
    if platform.libc_ver()[0] != 'glibc':
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    if not mallopt(M_MMAP_THRESHOLD, 2**30):
        mallopt(M_MMAP_THRESHOLD, 2**25)       # the most that glibc before 2.35 takes


class TurnedConv2d(nn.Conv2d):
    """A 3x3 convolution of padding 1 as a transposed one with its kernel turned around.

    The sums are the same, but the gradient of the kernel is that of a convolution from few
    channels to many, which takes half the time on a CPU.
    """

    def forward(self, x):
        kernel = self.weight.flip(2, 3).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, padding=1)


def gains_by_turning(layer):
    """Whether a layer is a convolution to few channels that TurnedConv2d computes as well."""
    return (type(layer) is nn.Conv2d and layer.out_channels < FEW_CHANNELS <= layer.in_channels
            and layer.kernel_size == (3, 3) and layer.padding == (1, 1)
            and layer.stride == layer.dilation == (1, 1) and layer.groups == 1
            and layer.padding_mode == 'zeros')


@contextmanager
def faster_layers(model, device):
    """While the block trains a model on a CPU, its layers take less time for the same losses.

    A bias before a batch normalisation in training mode has a gradient of 0, for the mean is
    subtracted there: none is computed, and it stays as it is. A ReLU takes the place of what the
    layer before it gave, which no one else needs. A convolution to few channels is computed as
    TurnedConv2d.
    """
    model.train()                      # whose normalisations are meant
    sequences = [layer for layer in model.modules() if isinstance(layer, nn.Sequential)]
    if device.type != 'cpu':
        sequences = []
    changes = [change for sequence in sequences for layer, after in pairwise(sequence)
               for change in faster(layer, after)]
    before = [getattr(part, name) for part, name, _ in changes]
    try:
        for part, name, value in changes:
            setattr(part, name, value)
        yield
    finally:
        for (part, name, _), value in zip(changes, before):
            setattr(part, name, value)


def faster(layer, after):
    """Yield (part, name, value) of each attribute that makes a layer, or that after it, faster."""
    is_convolution = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    if (is_convolution and isinstance(layer.bias, nn.Parameter)
            and isinstance(after, nn.BatchNorm2d) and after.training):
        yield layer.bias, 'requires_grad', False
    if (is_convolution or isinstance(layer, nn.BatchNorm2d)) and isinstance(after, nn.ReLU):
        yield after, 'inplace', True
    if gains_by_turning(layer):
        yield layer, '__class__', TurnedConv2d
