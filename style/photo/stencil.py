"""Symmetric operators on pixels that couple each with its neighbours, kept as planes.

No sparse matrix is built: one plane of coefficients for every offset to a neighbour, and only those
of half the offsets, as the other half is the same planes shifted. For the matting system these are
13 numbers per pixel, so memory grows with the picture and a product is a sum of shifted products
that runs alike on CPU and GPU.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

Offset = tuple[int, int]


def half_offsets(reach: int) -> tuple[Offset, ...]:
    """(dy, dx) up to `reach` pixels away, the pixel itself first, one of each opposite pair."""
    right = [(0, dx) for dx in range(reach + 1)]
    below = [(dy, dx) for dy in range(1, reach + 1) for dx in range(-reach, reach + 1)]
    return (*right, *below)


def _views(offset: Offset, height: int, width: int) -> tuple[tuple[slice, slice], ...]:
    """Places (y, x) that have a neighbour at the offset, and those neighbours."""
    dy, dx = offset
    left, right = max(0, -dx), max(0, dx)
    here = (slice(0, height - dy), slice(left, width - right))
    there = (slice(dy, height), slice(right, width - left))
    return here, there


class Stencil:
    """A symmetric operator; calling it multiplies.

    Args:
        planes: [1 + (size - 1) / 2, H, W] for a neighbourhood of `size` pixels; plane k at (y, x)
            is the coefficient between that pixel and the one at `half_offsets(reach)[k]` from it
            (what would reach outside the picture is not read).
        reach: pixels to the farthest neighbour in a row or column.

    Attributes:
        pairs: (coefficients, where, and where the neighbours are) for every offset but the first.
    """

    def __init__(self, planes: Tensor, reach: int) -> None:
        self.planes, self.reach = planes, reach
        height, width = planes.shape[1:]
        self.pairs = []
        for plane, offset in zip(planes[1:], half_offsets(reach)[1:], strict=True):
            if offset[0] < height and abs(offset[1]) < width:
                here, there = _views(offset, height, width)
                self.pairs.append((plane[here], here, there))

    @property
    def diagonal(self) -> Tensor:
        """[H, W]."""
        return self.planes[0]

    def to(self, dtype: torch.dtype) -> Self:
        """The same operator with coefficients of another type."""
        return type(self)(self.planes.to(dtype), self.reach)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., H, W] to [..., H, W]."""
        y = self.diagonal * x
        for plane, here, there in self.pairs:
            y[(..., *here)].addcmul_(plane, x[(..., *there)])
            y[(..., *there)].addcmul_(plane, x[(..., *here)])
        return y
