"""Images that are read window by window: what stands behind a `TiledTensor`.

A `Source` is a [N, C, H, W] image of which any window can be had on the compute device. `Stored`
keeps its pixels in host memory; the others are recipes over further sources (pointwise functions,
padding, crops, resizing, concatenation) and hold no pixels: they are worked out for each window
that somebody reads, so that a norm, an activation and a pad cost no pass of their own over the
image. `sweep` is the only place that writes pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        """(height, width) in pixels."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]


@dataclass(frozen=True)
class Plan:
    """How one tiled forward is run.

    Attributes:
        tile: Side, in pixels of an operation's output, of the tiles it is computed in.
        device: Where tiles are computed; the network's parameters live there.
        dtype: What activations are stored as between operations, in host memory.
    """

    tile: int
    device: torch.device
    dtype: torch.dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        """What a tile is on the device: 16-bit storage is widened so that norms keep precision."""
        return torch.promote_types(self.dtype, torch.float32)

    def windows(self, shape: torch.Size) -> Iterator[Window]:
        """Tiles that cover [..., H, W] without overlap, row by row; the last ones are smaller."""
        height, width = shape[-2:]
        for top in range(0, height, self.tile):
            rows = (top, min(top + self.tile, height))
            for left in range(0, width, self.tile):
                yield Window(rows, (left, min(left + self.tile, width)))


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance of groups of `count` values each.

    Both are float64 of one shape, [N, C] unless pooled.
    """

    count: int
    mean: Tensor
    var: Tensor

    @classmethod
    def consuming(cls, tile: Tensor) -> Moments:
        """Moments of [N, C, h, w] over (h, w); overwrites `tile`.

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
        """Moments of both sets together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        share = other.count / count
        gap = other.mean - self.mean
        var = torch.lerp(self.var, other.var, share) + gap.square() * share * (1 - share)
        return Moments(count, self.mean + gap * share, var)

    def pooled(self, dims: Sequence[int]) -> Moments:
        """Moments over `dims` of the table too; those dimensions keep size 1."""
        dims = tuple(dims)
        if not dims:
            return self
        mean = self.mean.mean(dims, keepdim=True)
        var = (self.var + (self.mean - mean).square()).mean(dims, keepdim=True)
        return Moments(self.count * (self.mean.numel() // mean.numel()), mean, var)


class Source(ABC):
    """An image [N, C, H, W] that can be read by windows."""

    def __init__(self, plan: Plan, shape: Sequence[int]) -> None:
        self.plan = plan
        self.shape = torch.Size(shape)

    @abstractmethod
    def read(self, window: Window) -> Tensor:
        """[N, C, h, w] on the device. May be a view of a store: never write into it."""

    @cached_property
    def moments(self) -> Moments:
        """Per-image, per-channel moments over all pixels, in one pass on the first use."""
        total = None
        for window in self.plan.windows(self.shape):
            part = Moments.consuming(self.read(window).clone())
            total = part if total is None else total.merged(part)
        assert total is not None, "an image has pixels"
        return total


class Stored(Source):
    """Pixels in memory: an activation on the host, or a tensor that the network brought along."""

    def __init__(self, plan: Plan, pixels: Tensor) -> None:
        super().__init__(plan, pixels.shape)
        self.pixels = pixels

    def read(self, window: Window) -> Tensor:
        """Copied in the stored type, the narrower one, and widened on the device."""
        tile = self.pixels[..., slice(*window.rows), slice(*window.cols)]
        return tile.to(self.plan.device).to(self.plan.compute_dtype)


class Mapped(Source):
    """A pointwise function of sources of one height and width."""

    def __init__(
        self, function: Callable[..., Tensor], inputs: Sequence[Source], shape: Sequence[int]
    ) -> None:
        super().__init__(inputs[0].plan, shape)
        self.function = function
        self.inputs = tuple(inputs)

    def read(self, window: Window) -> Tensor:
        """The function of the inputs' windows."""
        return self.function(*(source.read(window) for source in self.inputs))


class Gathered(Source):
    """Rows and columns of a source in another order: padding, crops, nearest-neighbour resizing.

    Args:
        source: What is read.
        rows: [H'] source row of each row, int64 on the CPU; -1 for a row of `fill`.
        cols: [W'] likewise.
        fill: Value of the pixels that the source does not have.
    """

    def __init__(self, source: Source, rows: Tensor, cols: Tensor, fill: float = 0.0) -> None:
        super().__init__(source.plan, (*source.shape[:2], len(rows), len(cols)))
        self.source, self.rows, self.cols, self.fill = source, rows, cols, fill

    def read(self, window: Window) -> Tensor:
        """Reads the smallest source window that holds all that is asked for."""
        rows, top, bottom = _within(self.rows[slice(*window.rows)])
        cols, left, right = _within(self.cols[slice(*window.cols)])
        if len(rows) == 0 or len(cols) == 0:
            shape = (*self.shape[:2], *window.size)
            plan = self.plan
            return torch.full(shape, self.fill, device=plan.device, dtype=plan.compute_dtype)
        tile = self.source.read(Window(_hull(rows), _hull(cols)))
        tile = _pick(_pick(tile, 2, rows), 3, cols)
        if any((left, right, top, bottom)):
            tile = F.pad(tile, (left, right, top, bottom), value=self.fill)
        return tile


class Blended(Source):
    """Linear interpolation at fractional source rows and columns: bilinear resizing.

    Args:
        source: What is read.
        rows: [H'] source coordinate of each row, float64 on the CPU, within the source.
        cols: [W'] likewise.
    """

    def __init__(self, source: Source, rows: Tensor, cols: Tensor) -> None:
        super().__init__(source.plan, (*source.shape[:2], len(rows), len(cols)))
        self.source, self.rows, self.cols = source, rows, cols

    def read(self, window: Window) -> Tensor:
        """Interpolates along rows, then along columns."""
        rows, cols = self.rows[slice(*window.rows)], self.cols[slice(*window.cols)]
        tile = self.source.read(Window(_hull(rows), _hull(cols)))
        return _blend(_blend(tile, 2, rows), 3, cols)


def _within(index: Tensor) -> tuple[Tensor, int, int]:
    """The run of indices that are not -1, and the counts of -1 before and after it."""
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
    below = _pick(tile, dim, (low - start).long()) if len(low) else tile
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
    """Fill a new image in host memory, tile by tile.

    Args:
        plan: Gives the tiles.
        shape: [N, C, H, W] of the new image.
        compute: Window of the new image -> its pixels [N, C, h, w] on the device.
        dtype: Type of the new image; default: the plan's storage type.
        measure: Gather the moments on the way, before rounding to the storage type, which spares
            a norm its pass over the image. Tiles are overwritten: `compute` must return tensors
            of its own, not views.

    Returns:
        The new image.
    """
    pixels = torch.empty(tuple(shape), dtype=dtype or plan.dtype, device="cpu")
    stored = Stored(plan, pixels)
    total = None
    for window in plan.windows(pixels.shape):
        tile = compute(window)
        pixels[..., slice(*window.rows), slice(*window.cols)] = tile
        if measure:
            part = Moments.consuming(tile.to(plan.compute_dtype))
            total = part if total is None else total.merged(part)
    if total is not None:
        stored.moments = total
    return stored
