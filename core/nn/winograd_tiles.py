"""Cutting images into overlapping tiles and back, for `core.nn.winograd`."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

import torch
from torch import Tensor


class _Piece(NamedTuple):
    """What lies within the image of a tile, or of which the image is mirrored there."""

    begin: int
    """Within a tile."""
    length: int
    start: int
    """In the image; of the first of several tiles."""
    mirrored: bool


class _Span(NamedTuple):
    """Tiles in a row along an axis that have the same pieces."""

    first: int
    """Of the tiles."""
    number: int
    """Of tiles."""
    pieces: tuple[_Piece, ...]


_Pair = tuple[_Piece, _Piece]
"""Of rows and of columns."""


@lru_cache
def _spans(size: int, step: int, side: int, padding: int, mirrored: bool) -> tuple[_Span, ...]:
    """All tiles of `side` pixels along an axis, one every `step` pixels, from outside the image.

    Mirrored, the pixels next to the image on both sides are those next to its edges.
    """

    def pieces(tile: int) -> list[_Piece]:
        origin = step * tile - padding
        begin, end = max(0, -origin), min(side, size - origin)
        found = [_Piece(begin, end - begin, origin + begin, False)] if end > begin else []
        for outside, inside in ((-1, 1), (size, size - 2)) if mirrored else ():
            if 0 <= outside - origin < side:
                found.append(_Piece(outside - origin, 1, inside, True))
        return found

    number = -(-(size + 2 * padding - side + step) // step)
    tiles = [pieces(tile) for tile in range(number)]
    spans = []
    for _, same in groupby(range(number), key=lambda i: [p[:2] for p in tiles[i]]):
        first, *others = same
        spans.append(_Span(first, 1 + len(others), tuple(tiles[first])))
    return tuple(spans)


def _windows(image: Tensor, spans: tuple[_Span, _Span], pieces: _Pair, step: int) -> Tensor:
    """View of what tiles have of [N, C, H, W]: [N, rows, columns, length, length, C]."""
    view = image.permute(0, 2, 3, 1)
    for axis, span, piece in zip((1, 2), spans, pieces, strict=True):
        view = view.narrow(axis, piece.start, step * (span.number - 1) + piece.length)
        view = view.unfold(axis, piece.length, step)
    return view.permute(0, 1, 2, 4, 5, 3)


def _cells(tiles: Tensor, spans: tuple[_Span, _Span]) -> Tensor:
    """View of these tiles, [N, rows, columns, side, side, C]."""
    for axis, span in zip((1, 2), spans, strict=True):
        tiles = tiles.narrow(axis, span.first, span.number)
    return tiles


def _part(cells: Tensor, pieces: _Pair) -> Tensor:
    """View of a piece of each tile, [N, rows, columns, length, length, C]."""
    for axis, piece in zip((3, 4), pieces, strict=True):
        cells = cells.narrow(axis, piece.begin, piece.length)
    return cells


def gather(
    image: Tensor,
    step: int,
    side: int,
    padding: int = 0,
    *,
    reflect: bool = False,
    positive: Tensor | None = None,
) -> Tensor:
    """[N, C, H, W] to tiles [tiles, side * side, C], with zeros outside of the image.

    Args:
        image: what to cut.
        step: pixels from a tile to the next.
        side: of a tile in pixels.
        padding: pixels outside of the image that tiles cover on every side; on the right and at
            the bottom more, if that is not a whole tile.
        reflect: the pixels next to the image mirror it, instead of being 0.
        positive: 0 instead of `image` where this [N, C, H, W] is not positive (a ReLU's way back).
    """
    n, channels, height, width = image.shape
    down, across = (_spans(size, step, side, padding, reflect) for size in (height, width))
    tiled = [spans[-1].first + spans[-1].number for spans in (down, across)]
    # Channels last throughout: the matrix products want them side by side.
    tiles = image.new_empty(n, *tiled, side, side, channels)
    for spans in product(down, across):
        cells = _cells(tiles, spans)
        if any(sum(piece.length for piece in span.pieces) < side for span in spans):
            cells.zero_()
        for pieces in product(*(span.pieces for span in spans)):
            values, part = _windows(image, spans, pieces, step), _part(cells, pieces)
            if positive is None:
                part.copy_(values)
            else:
                mask = _windows(positive, spans, pieces, step)
                torch.ops.aten.threshold_backward.grad_input(values, mask, 0, grad_input=part)
    return tiles.view(-1, side * side, channels)


def scatter(tiles: Tensor, image: Tensor, step: int, *, fold: bool = False) -> None:
    """Tiles [tiles, step * step, C] side by side into `image` [N, C, H, W]; the rest is cut off.

    Args:
        tiles: what to put there.
        image: where.
        step: pixels of a tile's side.
        fold: the tiles have a pixel more on every side, which is added to the one that it mirrors:
            the way back of `gather` with `reflect`.
    """
    n, channels, height, width = image.shape
    down, across = (_spans(size, step, step, int(fold), fold) for size in (height, width))
    tiled = [spans[-1].first + spans[-1].number for spans in (down, across)]
    tiles = tiles.view(n, *tiled, step, step, channels)
    places = [
        (spans, pieces)
        for spans in product(down, across)
        for pieces in product(*(span.pieces for span in spans))
    ]
    for outside in (False, True):  # nothing is added before what it is added to is there
        for spans, pieces in places:
            if any(piece.mirrored for piece in pieces) == outside:
                values = _part(_cells(tiles, spans), pieces)
                target = _windows(image, spans, pieces, step)
                target.add_(values) if outside else target.copy_(values)
