"""Sizes that a network takes: images are padded to the next one."""

from __future__ import annotations

import torch
from torch import Tensor


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
