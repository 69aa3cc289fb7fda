"""Read images window by window: what stands behind a `TiledTensor`.

A `Source` is a [N, C, H, W] image of which any window can be had on the compute device. `Stored`
keeps its pixels in host memory; the others are recipes over further sources (pointwise functions,
padding, crops, resizing, concatenation) and hold no pixels: they are worked out for each window
that somebody reads, so that a norm, an activation and a pad cost no pass of their own over the
image. `sweep` is the only place that writes pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Span = tuple[int, int]
"""Half-open range of rows or columns."""


class Window(NamedTuple):
    """A rectangle of pixels."""

    rows: Span
    cols: Span

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]


@dataclass(frozen=True)
class Plan:
    """How one tiled forward is run."""

    tile: int
    """Side, in pixels of an operation's output, of the tiles it is computed in."""
    device: torch.device
    """Where tiles are computed; the network's parameters live there."""
    dtype: torch.dtype
    """What activations are stored as between operations, in host memory."""

    @property
    def compute_dtype(self) -> torch.dtype:
        """What a tile is on the device: 16-bit storage is widened so that norms keep precision."""
        return torch.promote_types(self.dtype, torch.float32)

    def windows(self, shape: torch.Size) -> Iterator[Window]:
        """Cover [..., H, W] with tiles without overlap, row by row; the last ones are smaller."""
        height, width = shape[-2:]
        for top in range(0, height, self.tile):
            rows = (top, min(top + self.tile, height))
            for left in range(0, width, self.tile):
                yield Window(rows, (left, min(left + self.tile, width)))


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance, float64, [N, C] unless pooled, of groups of `count` values each."""

    count: int
    mean: Tensor
    var: Tensor

    @classmethod
    def consuming(cls, tile: Tensor) -> Moments:
        """Measure [N, C, h, w] over (h, w); overwrites `tile`.

        Values are centred before they are squared: a large mean costs no digits of the variance,
        and what rounding leaves of the mean after centring is accounted for.
        """
        rough = tile.mean((2, 3), keepdim=True)
        centred = tile.sub_(rough)
        rest = centred.mean((2, 3)).double()
        count = tile.shape[-2] * tile.shape[-1]
        squares = torch.linalg.vector_norm(centred, dim=(2, 3)).double().square() / count
        return cls(count, rough[..., 0, 0].double() + rest, (squares - rest.square()).clamp_(min=0))

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        share = other.count / count
        gap = other.mean - self.mean
        var = torch.lerp(self.var, other.var, share) + gap.square() * share * (1 - share)
        return Moments(count, self.mean + gap * share, var)

    def pooled(self, dims: Sequence[int]) -> Moments:
        """Return the moments over `dims` of the table too; those dimensions keep size 1."""
        if not dims:
            return self
        dims = tuple(dims)
        mean = self.mean.mean(dims, keepdim=True)
        var = (self.var + (self.mean - mean).square()).mean(dims, keepdim=True)
        return Moments(self.count * (self.mean.numel() // mean.numel()), mean, var)


class Source:
    """An image [N, C, H, W] that can be read by windows.

    `read` gives the pixels [N, C, h, w] of a window on the device, perhaps as a view: never write
    into it.
    """

    def __init__(self, plan: Plan, shape: Sequence[int], read: Callable[[Window], Tensor]) -> None:
        self.plan, self.shape, self.read = plan, torch.Size(shape), read

    @cached_property
    def moments(self) -> Moments:
        """Per-image, per-channel moments over all pixels, in one pass on the first use."""
        windows = self.plan.windows(self.shape)
        return reduce(Moments.merged, (Moments.consuming(self.read(w).clone()) for w in windows))


class Stored(Source):
    """Pixels in memory: an activation on the host, or a tensor that the network brought along."""

    def __init__(self, plan: Plan, pixels: Tensor) -> None:
        def read(window: Window) -> Tensor:
            # Copied in the stored type, the narrower one, and widened on the device.
            tile = pixels[..., slice(*window.rows), slice(*window.cols)]
            return tile.to(plan.device).to(plan.compute_dtype)

        super().__init__(plan, pixels.shape, read)
        self.pixels = pixels


def mapped(
    function: Callable[..., Tensor], inputs: Sequence[Source], shape: Sequence[int]
) -> Source:
    """Apply a pointwise function to sources of one height and width."""

    def read(window: Window) -> Tensor:
        return function(*(source.read(window) for source in inputs))

    return Source(inputs[0].plan, shape, read)


def gathered(source: Source, rows: Tensor, cols: Tensor, fill: float = 0.0) -> Source:
    """Take rows and columns in another order: padding, crops, nearest-neighbour resizing.

    `rows` [H'] and `cols` [W'], int64 on the CPU, are the source's for each row and column of the
    result; -1 stands for one of `fill`.
    """
    plan, shape = source.plan, (*source.shape[:2], len(rows), len(cols))

    def read(window: Window) -> Tensor:
        # The smallest source window that holds all that is asked for.
        inner_rows, top, bottom = _within(rows[slice(*window.rows)])
        inner_cols, left, right = _within(cols[slice(*window.cols)])
        if len(inner_rows) == 0 or len(inner_cols) == 0:
            size = (*shape[:2], *window.size)
            return torch.full(size, fill, device=plan.device, dtype=plan.compute_dtype)
        tile = source.read(Window(_hull(inner_rows), _hull(inner_cols)))
        tile = _pick(_pick(tile, 2, inner_rows), 3, inner_cols)
        pads = (left, right, top, bottom)
        return F.pad(tile, pads, value=fill) if any(pads) else tile

    return Source(plan, shape, read)


def blended(source: Source, rows: Tensor, cols: Tensor) -> Source:
    """Interpolate linearly at fractional source rows and columns: bilinear resizing.

    `rows` [H'] and `cols` [W'], float64 on the CPU, are coordinates within the source.
    """

    def read(window: Window) -> Tensor:
        wanted = rows[slice(*window.rows)], cols[slice(*window.cols)]
        tile = source.read(Window(*map(_hull, wanted)))
        return _blend(_blend(tile, 2, wanted[0]), 3, wanted[1])

    return Source(source.plan, (*source.shape[:2], len(rows), len(cols)), read)


def _within(index: Tensor) -> tuple[Tensor, int, int]:
    """Return the run of indices that are not -1, and the counts of -1 before and after it."""
    inside = (index >= 0).nonzero()
    if len(inside) == 0:
        return index[:0], len(index), 0
    first, last = int(inside[0]), int(inside[-1])
    return index[first : last + 1], first, len(index) - 1 - last


def _hull(coordinates: Tensor) -> Span:
    low, high = coordinates.aminmax()
    return int(low.floor()), int(high.ceil()) + 1


def _pick(tile: Tensor, dim: int, index: Tensor) -> Tensor:
    """Select `index`, whose hull the tile covers, along `dim`."""
    local = index - index.min()
    if len(local) == tile.shape[dim] and bool((local.diff() == 1).all()):
        return tile
    return tile.index_select(dim, local.to(tile.device))


def _blend(tile: Tensor, dim: int, coordinates: Tensor) -> Tensor:
    """Interpolate at `coordinates`, whose hull the tile covers, along `dim`."""
    low, high = coordinates.floor(), coordinates.ceil()
    weight = (coordinates - low).to(tile.device, tile.dtype)
    start = low.min()
    below = _pick(tile, dim, (low - start).long())
    above = tile.index_select(dim, (high - start).long().to(tile.device))
    return torch.lerp(below, above, weight.view(-1, *[1] * (3 - dim)))


def sweep(
    plan: Plan,
    shape: Sequence[int],
    compute: Callable[[Window], Tensor],
    *,
    dtype: torch.dtype | None = None,
    measure: bool = False,
) -> Stored:
    """Fill a new image [N, C, H, W] in host memory, tile by tile.

    `compute` makes the pixels [N, C, h, w] of a window on the device; they are stored as `dtype`,
    by default the plan's. `measure` gathers the moments on the way, before rounding to the storage
    type, which spares a norm its pass over the image. Tiles are then overwritten: `compute` must
    return tensors of its own, not views.
    """
    stored = Stored(plan, torch.empty(tuple(shape), dtype=dtype or plan.dtype, device="cpu"))
    parts = []
    for window in plan.windows(stored.shape):
        tile = compute(window)
        stored.pixels[..., slice(*window.rows), slice(*window.cols)] = tile
        if measure:
            parts.append(Moments.consuming(tile.to(plan.compute_dtype)))
    if measure:
        stored.moments = reduce(Moments.merged, parts)
    return stored
