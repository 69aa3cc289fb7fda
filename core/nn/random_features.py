"""Features of a fixed random convolutional network: perception without a download."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_CHANNELS = (32, 64, 128)
_LEAST_RESPONSE = 1e-3
"""Weaker ones are rounding errors of a flat area, not to be blown up to unit length."""


@cache
def _weights(channels: int) -> tuple[Tensor, ...]:
    """Draw 3x3 filters of zero mean and unit length, on the CPU: the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    weights = []
    for width in _CHANNELS:
        weight = torch.randn(width, channels, 3, 3, generator=generator)
        weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        weights.append(weight / weight.flatten(1).norm(dim=1)[:, None, None, None])
        channels = width
    return tuple(weights)


def random_features(images: Tensor) -> list[Tensor]:
    """Return features of images [N, C, H, W], float in [-1, 1], sides at least 4 px.

    They are [N, 32, H, W], [N, 64, H // 2, W // 2] and [N, 128, H // 4, W // 4]; each place's
    vector has length 1, or 0 where nothing responds (a flat area).
    """
    x = images
    levels: list[Tensor] = []
    for weight in _weights(images.shape[1]):
        if levels:
            x = F.avg_pool2d(x, 2)
        x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight.to(x)))
        levels.append(F.normalize(x, dim=1, eps=_LEAST_RESPONSE))
    return levels
