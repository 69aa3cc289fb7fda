"""Cutting images into overlapping tiles and back, for `core.nn.winograd`."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

import torch
from torch import Tensor


class _Span(NamedTuple):
    """Tiles in a row along an axis, of which the same part lies within the image."""

    first: int
    """Of the tiles."""
    number: int
    """Of tiles."""
    begin: int
    """Of the part, within a tile."""
    end: int
    """Of the part, within a tile."""
    start: int
    """Of the first tile's part, in the image."""


@lru_cache
def _spans(size: int, step: int, side: int, padding: int) -> tuple[_Span, ...]:
    """All tiles of `side` pixels along an axis, one every `step` pixels, from outside the image."""
    number = -(-(size + 2 * padding - side + step) // step)
    parts = [
        (max(0, padding - step * i), min(side, size + padding - step * i)) for i in range(number)
    ]
    spans = []
    for part, tiles in groupby(range(number), key=parts.__getitem__):
        first, *others = tiles
        spans.append(_Span(first, 1 + len(others), *part, step * first - padding + part[0]))
    return tuple(spans)


def _windows(image: Tensor, rows: _Span, columns: _Span, step: int) -> Tensor:
    """View of what tiles see of [N, C, H, W]: [N, rows, columns, part, part, C]."""
    view = image.permute(0, 2, 3, 1)
    for axis, span in ((1, rows), (2, columns)):
        side = span.end - span.begin
        view = view.narrow(axis, span.start, step * (span.number - 1) + side)
        view = view.unfold(axis, side, step)
    return view.permute(0, 1, 2, 4, 5, 3)


def _cells(tiles: Tensor, rows: _Span, columns: _Span) -> Tensor:
    """View of these tiles, [N, rows, columns, side, side, C]."""
    return tiles.narrow(1, rows.first, rows.number).narrow(2, columns.first, columns.number)


def gather(
    image: Tensor, step: int, side: int, padding: int = 0, positive: Tensor | None = None
) -> Tensor:
    """[N, C, H, W] to tiles [tiles, side * side, C], with zeros outside of the image.

    Args:
        image: what to cut.
        step: pixels from a tile to the next.
        side: of a tile in pixels.
        padding: pixels outside of the image that tiles cover on every side; on the right and at
            the bottom more, if that is not a whole tile.
        positive: 0 instead of `image` where this [N, C, H, W] is not positive (a ReLU's way back).
    """
    n, channels, height, width = image.shape
    down, across = (_spans(size, step, side, padding) for size in (height, width))
    tiled = [spans[-1].first + spans[-1].number for spans in (down, across)]
    # Channels last throughout: the matrix products want them side by side.
    tiles = image.new_empty(n, *tiled, side, side, channels)
    for rows, columns in product(down, across):
        cells = _cells(tiles, rows, columns)
        inside = cells[:, :, :, rows.begin : rows.end, columns.begin : columns.end]
        if inside.shape != cells.shape:
            cells.zero_()
        values = _windows(image, rows, columns, step)
        if positive is None:
            inside.copy_(values)
        else:
            mask = _windows(positive, rows, columns, step)
            torch.ops.aten.threshold_backward.grad_input(values, mask, 0, grad_input=inside)
    return tiles.view(-1, side * side, channels)


def scatter(tiles: Tensor, image: Tensor, step: int) -> None:
    """Tiles [tiles, step * step, C] side by side into `image` [N, C, H, W]; the rest is cut off."""
    n, channels, height, width = image.shape
    down, across = (_spans(size, step, step, 0) for size in (height, width))
    tiled = [spans[-1].first + spans[-1].number for spans in (down, across)]
    tiles = tiles.view(n, *tiled, step, step, channels)
    for rows, columns in product(down, across):
        cells = _cells(tiles, rows, columns)
        _windows(image, rows, columns, step).copy_(cells[:, :, :, : rows.end, : columns.end])
