"""The matrices of minimal filtering, for `core.cpu.winograd`."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


class Transforms:
    """Matrices of F(m, r) over rows and columns at once.

    Args:
        outputs: m of F(m, r).
        taps: r.
        dtype: of the matrices.

    Attributes:
        outputs: m.
        taps: r.
        tile: t = m + r - 1.
        every_output: place among t * t, at the point 1 of both axes, of the product that every
            output has once.
        to_input: [t * t, t * t]; of the paper's y = A^T [(G g G^T) * (B^T d B)] A, it is B^T.
        to_output: [m * m, t * t]; A^T.
        to_filter: [t * t, r * r]; G.
    """

    def __init__(self, outputs: int, taps: int, dtype: torch.dtype) -> None:
        self.outputs, self.taps = outputs, taps
        self.tile = outputs + taps - 1
        self.every_output = self.tile + 1
        b, a, g = _toom_cook(np.array([*_POINTS[: self.tile - 1], np.inf]), outputs, taps)
        self.to_input, self.to_output, self.to_filter = (
            torch.from_numpy(np.kron(matrix, matrix)).to(dtype) for matrix in (b, a.T, g)
        )


def _toom_cook(points: Array, outputs: int, taps: int) -> tuple[Array, Array, Array]:
    """B^T, A and G for these points, of which one is infinity; a row for each."""
    tile = len(points)
    finite = np.isfinite(points)
    others = [np.delete(points, i)[np.delete(finite, i)] for i in range(tile)]
    powers = np.vander(np.where(finite, points, 0), tile, increasing=True)

    def evaluated(size: int) -> Array:
        return np.where(finite[:, None], powers[:, :size], np.eye(size)[-1])

    pairs = zip(points, others, strict=True)
    scale = [np.prod(p - rest) if np.isfinite(p) else 1.0 for p, rest in pairs]
    b = np.zeros((tile, tile))
    for row, roots in enumerate(others):
        b[row, : len(roots) + 1] = np.poly(roots)[::-1]
    return b, evaluated(outputs), evaluated(taps) / np.array(scale)[:, None]


transforms = cache(Transforms)
