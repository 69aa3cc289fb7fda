"""Reflection and replication padding, deterministic on CUDA and safe to compile.

Torch's own gradients add up in no fixed order on CUDA and are refused where deterministic
algorithms are asked for; that of `replication_pad2d` fails when compiled for channels_last (torch
2.15 asserts strides that it does not have).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reflection_pad(x: Tensor, pixels: int, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    """Mirror [N, C, H, W] by `pixels` on both sides of `dims`: slices, flips, concatenation."""
    for dim in dims:
        size = x.shape[dim]
        before = x.narrow(dim, 1, pixels).flip(dim)
        after = x.narrow(dim, size - 1 - pixels, pixels).flip(dim)
        x = torch.cat([before, x, after], dim)
    return x


def replication_pad(x: Tensor, pixels: int, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    """Repeat the edges of [N, C, H, W] `pixels` times on both sides of `dims`."""
    for dim in dims:
        size = x.shape[dim]
        before, after = (
            x.narrow(dim, edge, 1).expand(*(pixels if d == dim else -1 for d in range(4)))
            for edge in (0, size - 1)
        )
        x = torch.cat([before, x, after], dim)
    return x


class ReflectionPad2d(nn.ReflectionPad2d):
    """`nn.ReflectionPad2d` with equal sides; see `reflection_pad`."""

    def forward(self, input: Tensor) -> Tensor:
        """Pad [N, C, H, W] on all sides."""
        if torch.are_deterministic_algorithms_enabled() and input.is_cuda:
            return reflection_pad(input, self.padding[0])
        return super().forward(input)


class MirroredConv2d(nn.Conv2d):
    """A 3x3 convolution of the image mirrored by one pixel; sides of at least 2 pixels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)
        self._pad = ReflectionPad2d(1)

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same size."""
        return super().forward(self._pad(input))


class ReplicationPad2d(nn.ReplicationPad2d):
    """`nn.ReplicationPad2d` with equal sides; see `replication_pad`."""

    def forward(self, input: Tensor) -> Tensor:
        """Pad [N, C, H, W] on all sides."""
        exact = torch.are_deterministic_algorithms_enabled() and input.is_cuda
        if exact or torch.compiler.is_compiling():
            return replication_pad(input, self.padding[0])
        return super().forward(input)


def legal(length: int, multiple: int, minimum: int) -> int:
    """Return the next length that a network takes."""
    return max(minimum, -(-length // multiple) * multiple)


def pad_to_multiple(images: Tensor, multiple: int, minimum: int) -> tuple[Tensor, int, int]:
    """Reflect-pad [N, C, H, W] on all sides to the next legal size, as often as it takes.

    Returns:
        The padded images, and the rows and columns added at the top and at the left.
    """
    starts = []
    for axis in (2, 3):
        length = images.shape[axis]
        missing = legal(length, multiple, minimum) - length
        starts.append(missing // 2)
        if missing:
            period = max(1, 2 * (length - 1))  # 3 rows go on as 0 1 2 1 0 1 2 ...; one is repeated
            places = torch.arange(length + missing, device=images.device) - missing // 2
            index = places.remainder(period)
            images = images.index_select(axis, torch.minimum(index, period - index))
    return images, starts[0], starts[1]
