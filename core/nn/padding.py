"""Reflection and replication padding that also have a deterministic gradient on CUDA."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reflection_pad(x: Tensor, pixels: int) -> Tensor:
    """[N, C, H, W] to [N, C, H + 2 * pixels, W + 2 * pixels] by slices, flips and concatenation.

    The same values as torch's own, whose CUDA gradient adds up in no fixed order and is therefore
    refused where deterministic algorithms are asked for.
    """
    for dim in (2, 3):
        size = x.shape[dim]
        before = x.narrow(dim, 1, pixels).flip(dim)
        after = x.narrow(dim, size - 1 - pixels, pixels).flip(dim)
        x = torch.cat([before, x, after], dim)
    return x


def replication_pad(x: Tensor, pixels: int) -> Tensor:
    """[N, C, H, W] to [N, C, H + 2 * pixels, W + 2 * pixels], the edges repeated."""
    for dim in (2, 3):
        size = x.shape[dim]
        index = torch.arange(-pixels, size + pixels, device=x.device).clamp(0, size - 1)
        x = x.index_select(dim, index)
    return x


class ReflectionPad2d(nn.ReflectionPad2d):
    """`nn.ReflectionPad2d` with equal sides; see `reflection_pad`."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W], padded on all sides."""
        if torch.are_deterministic_algorithms_enabled() and input.is_cuda:
            return reflection_pad(input, self.padding[0])
        return super().forward(input)


class ReplicationPad2d(nn.ReplicationPad2d):
    """`nn.ReplicationPad2d` with equal sides; the same values by indexing on CUDA if asked for."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W], padded on all sides."""
        if torch.are_deterministic_algorithms_enabled() and input.is_cuda:
            return replication_pad(input, self.padding[0])
        return super().forward(input)
