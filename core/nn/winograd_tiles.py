"""Cutting images into overlapping tiles and back, for `core.nn.winograd`."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Mode = Literal["zeros", "reflect", "replicate"]
"""Of the pixels next to an image, named as in `nn.Conv2d`; those beyond are 0."""
_REPEATED: dict[Mode, int | None] = {"zeros": None, "reflect": 1, "replicate": 0}
"""Which pixel from the edge."""


class _Piece(NamedTuple):
    """What lies within the image of a tile, or repeats a pixel of it."""

    begin: int
    """Within a tile."""
    length: int
    start: int
    """In the image; of the first of several tiles."""
    outside: bool
    """It repeats a pixel of the image."""


class _Span(NamedTuple):
    """Tiles in a row along an axis that have the same pieces."""

    first: int
    """Of the tiles."""
    number: int
    """Of tiles."""
    pieces: tuple[_Piece, ...]


_Pieces = tuple[_Piece, _Piece]
"""Of rows and of columns."""
_Spans = tuple[_Span, _Span]


@lru_cache
def _spans(size: int, step: int, side: int, padding: int, mode: Mode) -> tuple[_Span, ...]:
    """All tiles of `side` pixels along an axis, one every `step` pixels, from outside the image."""
    inside = _REPEATED[mode]

    def pieces(tile: int) -> list[_Piece]:
        origin = step * tile - padding
        begin, end = max(0, -origin), min(side, size - origin)
        found = [_Piece(begin, end - begin, origin + begin, False)] if end > begin else []
        for outside, start in () if inside is None else ((-1, inside), (size, size - 1 - inside)):
            if 0 <= outside - origin < side:
                found.append(_Piece(outside - origin, 1, start, True))
        return found

    number = -(-(size + 2 * padding - side + step) // step)
    tiles = [pieces(tile) for tile in range(number)]
    spans = []
    for _, same in groupby(range(number), key=lambda i: [p[:2] for p in tiles[i]]):
        first, *others = same
        spans.append(_Span(first, 1 + len(others), tuple(tiles[first])))
    return tuple(spans)


def _windows(image: Tensor, spans: _Spans, pieces: _Pieces, step: int) -> Tensor:
    """View of what tiles have of [N, C, H, W]: [N, rows, columns, length, length, C]."""
    n, c, *strides = image.stride()
    start = sum(piece.start * stride for piece, stride in zip(pieces, strides, strict=True))
    return image.as_strided(
        (image.shape[0], *_counts(spans), *_lengths(pieces), image.shape[1]),
        (n, *(step * stride for stride in strides), *strides, c),
        image.storage_offset() + start,
    )


def _part(tiles: Tensor, spans: _Spans, pieces: _Pieces | None = None) -> Tensor:
    """View of tiles [N, down, across, side, side, C], or of a piece of each, of the same form."""
    begin = [piece.begin for piece in pieces] if pieces else [0, 0]
    first = 0, *(span.first for span in spans), *begin, 0
    start = sum(i * stride for i, stride in zip(first, tiles.stride(), strict=True))
    lengths = _lengths(pieces) if pieces else tiles.shape[3:5]
    shape = tiles.shape[0], *_counts(spans), *lengths, tiles.shape[5]
    return tiles.as_strided(shape, tiles.stride(), tiles.storage_offset() + start)


def _counts(spans: _Spans) -> tuple[int, int]:
    return spans[0].number, spans[1].number


def _lengths(pieces: _Pieces) -> tuple[int, int]:
    return pieces[0].length, pieces[1].length


def gather(
    image: Tensor,
    step: int,
    side: int,
    padding: int = 0,
    mode: Mode = "zeros",
    positive: Tensor | None = None,
) -> Tensor:
    """[N, C, H, W] to tiles [tiles, side * side, C].

    Args:
        image: what to cut.
        step: pixels from a tile to the next.
        side: of a tile in pixels.
        padding: pixels outside of the image that tiles cover on every side; on the right and at
            the bottom more, if that is not a whole tile.
        mode: of the pixels next to the image.
        positive: 0 instead of `image` where this [N, C, H, W] is not positive (a ReLU's way back).
    """
    n, channels, height, width = image.shape
    down, across = (_spans(size, step, side, padding, mode) for size in (height, width))
    tiled = [spans[-1].first + spans[-1].number for spans in (down, across)]
    # Channels last throughout: the matrix products want them side by side.
    tiles = image.new_empty(n, *tiled, side, side, channels)
    for spans in product(down, across):
        if any(sum(piece.length for piece in span.pieces) < side for span in spans):
            _part(tiles, spans).zero_()
        for pieces in product(spans[0].pieces, spans[1].pieces):
            values, part = _windows(image, spans, pieces, step), _part(tiles, spans, pieces)
            if positive is None:
                part.copy_(values)
            else:
                mask = _windows(positive, spans, pieces, step)
                torch.ops.aten.threshold_backward.grad_input(values, mask, 0, grad_input=part)
    return tiles.view(-1, side * side, channels)


def scatter(tiles: Tensor, image: Tensor, step: int, mode: Mode = "zeros") -> None:
    """Tiles [tiles, step * step, C] side by side into `image` [N, C, H, W]; the rest is cut off.

    Args:
        tiles: what to put there.
        image: where.
        step: pixels of a tile's side.
        mode: unless zeros, the tiles have a pixel more on every side, which is added to the one
            that it repeats: the way back of `gather`.
    """
    n, channels, height, width = image.shape
    down, across = (
        _spans(size, step, step, int(mode != "zeros"), mode) for size in (height, width)
    )
    tiled = [spans[-1].first + spans[-1].number for spans in (down, across)]
    tiles = tiles.view(n, *tiled, step, step, channels)
    places = [
        (spans, pieces)
        for spans in product(down, across)
        for pieces in product(spans[0].pieces, spans[1].pieces)
    ]
    for outside in (False, True):  # nothing is added before what it is added to is there
        for spans, pieces in places:
            if any(piece.outside for piece in pieces) == outside:
                values = _part(tiles, spans, pieces)
                target = _windows(image, spans, pieces, step)
                target.add_(values) if outside else target.copy_(values)
