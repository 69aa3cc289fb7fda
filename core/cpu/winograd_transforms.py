"""The matrices of minimal filtering, and filters transformed by them, for `core.cpu.winograd`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


class _Kept:
    """Transformed filters of weights that do not change for a while."""

    found: ClassVar[dict[tuple[int, ...], tuple[Tensor, Tensor]] | None] = None
    """Weights and their `filters_of`, by where the weights lie; None: nothing is kept."""


@contextmanager
def keeping_filters() -> Iterator[None]:
    """Within, filters are transformed once for all forwards and backwards, until they change.

    Who changes weights says so by `forget_filters`; torch does not tell of a fused optimizer's
    step.
    """
    _Kept.found = {}
    try:
        yield
    finally:
        _Kept.found = None


def forget_filters(weights: Iterable[Tensor]) -> None:
    """These have changed."""
    if _Kept.found is not None:
        places = {weight.data_ptr() for weight in weights}
        _Kept.found = {k: kept for k, kept in _Kept.found.items() if k[0] not in places}


def filters_of(weight: Tensor, maps: Transforms) -> Tensor:
    """[O, I, r, r] to [t * t, O, I]."""
    key = weight.data_ptr(), *weight.shape, *weight.stride(), maps.outputs
    kept = _Kept.found
    if kept is not None and key in kept:
        return kept[key][1]
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    filters = (maps.to_filter @ taps).view(-1, *weight.shape[:2])
    if kept is not None:
        kept[key] = weight, filters  # as long as the weight is held, its place is not taken
    return filters


class FixedFilters:
    """The filters of a layer that is not trained, transformed on first use.

    Args:
        weight: [O, I, r, r], which never changes.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.detach()
        self._transformed: dict[int, Tensor] = {}

    def of(self, maps: Transforms) -> Tensor:
        """`filters_of` the weight, t * t / (r * r) times its size."""
        if maps.outputs not in self._transformed:
            self._transformed[maps.outputs] = filters_of(self._weight, maps)
        return self._transformed[maps.outputs]
