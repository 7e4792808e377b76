"""Faster steps that compute the same: memory that is kept, faster layers."""
import ctypes
import sys
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


class TurnedConv2d(nn.Conv2d):
    """A convolution of stride 1 as a transposed one with its kernel turned around.

    The sums are the same, but the gradient of the kernel is that of a convolution from few
    channels to many, which takes half the time on a CPU.
    """

    def forward(self, x):
        kernel = self.weight.flip(2, 3).transpose(0, 1)
        padding = [side - 1 - zeros for side, zeros in zip(self.kernel_size, self.padding)]
        return F.conv_transpose2d(x, kernel, self.bias, padding=padding)


def gains_by_turning(layer):
    """Whether a layer is a convolution to few channels that TurnedConv2d computes as well."""
    return (type(layer) is nn.Conv2d and layer.out_channels < FEW_CHANNELS <= layer.in_channels
            and layer.stride == layer.dilation == (1, 1) and layer.groups == 1
            and layer.padding_mode == 'zeros' and not isinstance(layer.padding, str)
            and all(zeros < side for zeros, side in zip(layer.padding, layer.kernel_size)))


@contextmanager
def faster_layers(model, device):
    """While the block trains a model on a CPU, its layers take less time for the same losses.

    A bias before a batch normalisation in training mode has a gradient of 0, for the mean is
    subtracted there: none is computed, and it stays as it is. A ReLU takes the place of what the
    layer before it gave, which no one else needs. A convolution to few channels is computed as
    TurnedConv2d.
    """
    model.train()                      # whose normalisations are meant
    changes = []
    for sequence in model.modules() if device.type == 'cpu' else ():
        if isinstance(sequence, nn.Sequential):
            for layer, after in pairwise(sequence):
                changes += faster(layer, after)
    before = [getattr(part, name) for part, name, _ in changes]
    try:
        for part, name, value in changes:
            setattr(part, name, value)
        yield
    finally:
        for (part, name, _), value in zip(changes, before):
            setattr(part, name, value)


def faster(layer, after):
    """What makes a layer, or the one after it, faster: [(part, name of an attribute, value)]."""
    changes = []
    is_convolution = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    if (is_convolution and isinstance(layer.bias, nn.Parameter)
            and isinstance(after, nn.BatchNorm2d) and after.training):
        changes.append((layer.bias, 'requires_grad', False))
    if (is_convolution or isinstance(layer, nn.BatchNorm2d)) and isinstance(after, nn.ReLU):
        changes.append((after, 'inplace', True))
    if gains_by_turning(layer):
        changes.append((layer, '__class__', TurnedConv2d))
    return changes
