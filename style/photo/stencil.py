"""Symmetric operators on pixels that couple each with its neighbours, kept as planes.

No sparse matrix is built: one plane of coefficients for every offset to a neighbour, and only those
of half the offsets, as the other half is the same planes shifted. For the matting system these are
13 numbers per pixel, so memory grows with the picture and a product is a sum of shifted products
that runs alike on CPU and GPU.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

Offset = tuple[int, int]


def half_offsets(reach: int) -> tuple[Offset, ...]:
    """List (dy, dx) up to `reach` pixels away, (0, 0) first, one of each opposite pair."""
    right = [(0, dx) for dx in range(reach + 1)]
    below = [(dy, dx) for dy in range(1, reach + 1) for dx in range(-reach, reach + 1)]
    return (*right, *below)


def views(offset: Offset, height: int, width: int) -> tuple[Any, Any]:
    """Index the pixels of [..., H, W] that have a neighbour at the offset, and those neighbours."""
    dy, dx = offset
    rows, columns = max(0, height - dy), max(0, width - abs(dx))
    left, right = max(0, -dx), max(0, dx)
    here = (..., slice(rows), slice(left, left + columns))
    return here, (..., slice(dy, dy + rows), slice(right, right + columns))


class Stencil:
    """A symmetric operator; calling it multiplies.

    Args:
        planes: [1 + (size - 1) / 2, H, W] for a neighbourhood of `size` pixels; plane k at (y, x)
            is the coefficient between that pixel and the one at `half_offsets(reach)[k]` from it
            (what would reach outside the picture is not read).
        reach: pixels to the farthest neighbour in a row or column.

    Attributes:
        diagonal: [H, W].
        pairs: (coefficients, where, and where the neighbours are) for every offset but the first.
    """

    def __init__(self, planes: Tensor, reach: int) -> None:
        self.planes, self.reach, self.diagonal = planes, reach, planes[0]
        self.pairs = []
        for plane, offset in zip(planes[1:], half_offsets(reach)[1:], strict=True):
            here, there = views(offset, *plane.shape)
            self.pairs.append((plane[here], here, there))

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply [..., H, W]."""
        y = self.diagonal * x
        for plane, here, there in self.pairs:
            y[here].addcmul_(plane, x[there])
            y[there].addcmul_(plane, x[here])
        return y
