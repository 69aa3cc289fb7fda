"""A network's convolutions as a CPU does them fastest in full precision (`train.winograd`).

Wide ones go by minimal filtering (`core.cpu.winograd`), those from and to the channels of an image
by cells of pixels (`core.cpu.narrow`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from core.cpu.narrow import from_few, to_few, transposed_to_few
from core.cpu.winograd import conv2d, in_full_on_cpu
from core.cpu.winograd_tiles import Mode
from core.cpu.winograd_transforms import FixedFilters
from core.nn.padding import ReflectionPad2d

FEW = 4
"""Channels of an image, at most."""
MANY = 16
"""Channels that make cells worth it: lanes of a vector."""


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 that convolves by `core.cpu.winograd`."""

    fixed: FixedFilters | None = None
    """Of a layer that is not trained."""
    mode: Mode = "zeros"
    """Otherwise it pads by 1 itself."""

    def forward(self, input: Tensor, *, relu: bool = False) -> Tensor:
        """[N, I, H, W] to [N, O, H', W'], then a ReLU if asked for."""
        padding = int(self.padding[0]) if self.mode == "zeros" else 1
        return conv2d(input, self.weight, self.bias, padding, self.fixed, relu, self.mode)


class ConvToFew(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 to the few channels of an image."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        if not in_full_on_cpu(input):
            return super().forward(input)
        return to_few(input, self.weight, self.bias, int(self.padding[0]))


class ConvFromFew(nn.Conv2d):
    """An `nn.Conv2d` from the few channels of an image."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        if not in_full_on_cpu(input):
            return super().forward(input)
        stride, padding = int(self.stride[0]), int(self.padding[0])
        return from_few(input, self.weight, self.bias, stride, padding)


class ConvTransposeToFew(nn.ConvTranspose2d):
    """An `nn.ConvTranspose2d` to the few channels of an image."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        if output_size is not None or not in_full_on_cpu(input):
            return super().forward(input, output_size)
        stride, padding = int(self.stride[0]), int(self.padding[0])
        return transposed_to_few(input, self.weight, self.bias, stride, padding)


class _LeftToConvolution(ReflectionPad2d):
    """A padding that the convolution behind it does."""

    def forward(self, input: Tensor) -> Tensor:
        return input


def use_cpu_convolutions(network: nn.Module, *, fixed: bool = False) -> None:
    """Exchange a network's convolutions for faster ones, in place; parameters and names stay.

    Reflection padding in front of a wide one, in an `nn.Sequential` or as the attribute `pad`
    beside `conv`, becomes part of it. A module with convolutions of another form has an attribute
    `winograd`, which is set.

    Args:
        network: as it is to run: on its device, in its layout.
        fixed: the network is never trained nor moved; its filters are transformed once.
    """
    for module in network.modules():
        if hasattr(module, "winograd"):
            setattr(module, "winograd", True)  # noqa: B010  (unknown to the type nn.Module)
        elif type(module) in (nn.Conv2d, nn.ConvTranspose2d):
            module.__class__ = _kind(module)
            if fixed and isinstance(module, WinogradConv2d):
                module.fixed = FixedFilters(module.weight)
    for pad, conv in () if fixed else _padded_convolutions(network):
        pad.__class__, conv.mode = _LeftToConvolution, "reflect"


def _kind(layer: Any) -> type[nn.Module]:
    """What an `nn.Conv2d` or `nn.ConvTranspose2d` is to become; its own type if nothing else."""
    pairs = layer.kernel_size, layer.stride, layer.padding
    if (
        any(isinstance(pair, str) or pair[0] != pair[1] for pair in pairs)
        or layer.dilation != (1, 1)
        or layer.padding_mode != "zeros"
        or layer.groups != 1
    ):
        return type(layer)
    (kernel, _), (stride, _), (padding, _) = pairs
    few_in = layer.in_channels <= FEW and layer.out_channels >= MANY
    few_out = layer.out_channels <= FEW and layer.in_channels >= MANY
    if isinstance(layer, nn.ConvTranspose2d):
        cells = few_out and kernel >= stride > 1 and layer.output_padding == (0, 0)
        return ConvTransposeToFew if cells else type(layer)
    if few_in and kernel > 1:
        return ConvFromFew
    if few_out and kernel >= 5 and stride == 1:  # cells widen smaller kernels too much
        return ConvToFew
    wide = kernel in (3, 4) and stride == 1 and padding in (0, 1, 2)
    return WinogradConv2d if wide else type(layer)


def _padded_convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, WinogradConv2d]]:
    for module in network.modules():
        couples: Iterable[tuple[Any, Any]] = [
            (getattr(module, "pad", None), getattr(module, "conv", None))
        ]
        if isinstance(module, nn.Sequential):
            couples = pairwise(module)
        for pad, conv in couples:
            narrow = type(pad) is ReflectionPad2d and pad.padding == (1, 1, 1, 1)
            wide = isinstance(conv, WinogradConv2d) and conv.kernel_size == (3, 3)
            if narrow and wide and conv.padding == (0, 0):
                yield pad, conv
