"""Convolutions as layers, as a CPU does them fastest in full precision.

Each is what a layer of `torch.nn` or `core.nn` becomes (`core.cpu.accelerate`) and falls back on it
on other devices and under autocast, which have convolutions of their own that are faster still.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.cpu.filters import KeptFilters
from core.cpu.narrow import from_few, to_few, transposed_to_few
from core.cpu.tiles import Mode
from core.cpu.winograd import conv2d, in_full_on_cpu
from core.nn import upsampling


class WideConv2d(nn.Conv2d):
    """A convolution of stride 1 by minimal filtering (`core.cpu.winograd`)."""

    kept: KeptFilters
    """Its transformed filters."""
    pads: Mode = "zeros"
    """Unless zeros, it pads by 1 itself."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        padding = int(self.padding[0]) if self.pads == "zeros" else 1
        return conv2d(input, self.weight, self.bias, padding, self.pads, self.kept)


class ConvToFew(nn.Conv2d):
    """A convolution of stride 1 to the few channels of an image."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        if not in_full_on_cpu(input):
            return super().forward(input)
        return to_few(input, self.weight, self.bias, int(self.padding[0]))


class ConvFromFew(nn.Conv2d):
    """A convolution from the few channels of an image."""

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


class DoubledConv2d(upsampling.DoubledConv2d):
    """`core.nn.upsampling.DoubledConv2d` by minimal filtering, in eval mode at once too."""

    kept: KeptFilters | None = None
    """The transformed filters of its kernels, where its weight is not trained."""
    _cells: tuple[int, int, tuple[Tensor, Tensor]] | None = None
    """Its kernels and biases, with the versions of weight and bias that they are of."""

    def forward(self, input: Tensor) -> Tensor:
        """As of the base class."""
        if not in_full_on_cpu(input):
            return super().forward(input)
        return self.at_once(input)

    def of_cells(self) -> tuple[Tensor, Tensor]:
        """As of the base class; kept where they are not trained."""
        if self.kept is None or torch.compiler.is_compiling():
            return super().of_cells()
        assert self.bias is not None
        versions = self.weight._version, self.bias._version
        if self._cells is None or self._cells[:2] != versions:
            with torch.inference_mode(False), torch.no_grad():
                self._cells = *versions, super().of_cells()
        return self._cells[2]

    def of_small(self, x: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
        """As of the base class."""
        mode: Mode = "zeros" if self.padding_mode == "zeros" else "replicate"
        return conv2d(x, kernels, biases, 1, mode, self.kept)
