"""Cutting images into overlapping tiles and back, for `core.cpu.winograd`.

Tiles are [N, down, across, side, side, C], channels last, as the matrix products want them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, product
from typing import Literal, NamedTuple

from torch import Size, Tensor

from core.cpu.scratch import scratch

Mode = Literal["zeros", "reflect", "replicate"]
"""Of the pixels next to an image, named as in `nn.Conv2d`; those beyond are 0."""
_INWARDS: dict[Mode, int] = {"reflect": 2, "replicate": 1}
"""How far inwards the pixel is that a pixel next to the image repeats."""


class _Run(NamedTuple):
    """Tiles in a row along an axis of which a part lies alike on the image."""

    first: int
    """Of the tiles."""
    number: int
    """Of tiles."""
    begin: int
    """Of the part, within a tile."""
    length: int
    """Of the part in pixels."""
    start: int
    """Of the first tile's part, in the image."""


def _number(size: int, step: int, side: int, padding: int) -> int:
    """Of tiles along an axis, one every `step` pixels, from outside the image."""
    return -(-(size + 2 * padding - side + step) // step)


def _runs(
    size: int, step: int, side: int, padding: int, part: Literal["whole", "own", "shared"]
) -> list[_Run]:
    """What lies on the image of tiles: of their own, or shared with the next one, or both."""
    number = _number(size, step, side, padding)

    def lies(tile: int) -> tuple[int, int]:
        own = step if tile + 1 < number else side
        start, stop = {"whole": (0, side), "own": (0, own), "shared": (own, side)}[part]
        origin = step * tile - padding
        return max(start, -origin), min(stop, size - origin)

    runs = []
    for (begin, end), alike in groupby(range(number), key=lies):
        if end > begin:
            first, *others = alike
            start = step * first - padding + begin
            runs.append(_Run(first, 1 + len(others), begin, end - begin, start))
    return runs


_View = tuple[tuple[int, ...], tuple[int, ...], int]
"""Arguments of `Tensor.as_strided`, with which a view costs a tenth of what slicing does."""


class _Plan(NamedTuple):
    """Which parts of tiles are which of an image."""

    shape: tuple[int, ...]
    """Of the tiles."""
    outside: list[_View]
    """Tiles of which something is not on the image."""
    parts: list[tuple[_View, _View]]
    """Of tiles and of the image."""
    shared: list[tuple[_View, _View]]
    """Parts that other tiles have too, if they are told apart."""


@lru_cache(maxsize=1024)
def _plan(image: _View, step: int, side: int, padding: int, *, apart: bool) -> _Plan:
    (n, channels, *size), (to_sample, to_channel, *to_pixel), offset = image
    down, across = (_number(length, step, side, padding) for length in size)
    row, tile = side * channels, side * side * channels
    on_tiles = down * across * tile, across * tile, tile, row, channels, 1

    def whole_tiles(runs: tuple[_Run, ...]) -> _View:
        first = runs[0].first * on_tiles[1] + runs[1].first * on_tiles[2]
        return (n, runs[0].number, runs[1].number, side, side, channels), on_tiles, first

    def part(runs: tuple[_Run, ...]) -> tuple[_View, _View]:
        _, _, first = whole_tiles(runs)
        first += runs[0].begin * row + runs[1].begin * channels
        start = offset + sum(r.start * stride for r, stride in zip(runs, to_pixel, strict=True))
        shape = n, *(r.number for r in runs), *(r.length for r in runs), channels
        on_image = to_sample, *(step * stride for stride in to_pixel), *to_pixel, to_channel
        return (shape, on_tiles, first), (shape, on_image, start)

    whole, own, shared = (
        [_runs(length, step, side, padding, kind) for length in size]
        for kind in ("whole", "own", "shared")
    )
    return _Plan(
        (n, down, across, side, side, channels),
        [whole_tiles(r) for r in product(*whole) if min(r[0].length, r[1].length) < side],
        [part(r) for r in product(*(own if apart else whole))],
        [
            part(r)
            for rows, columns in ((own, shared), (shared, own), (shared, shared))
            for r in product(rows[0], columns[1])
        ],
    )


def _view(image: Tensor) -> _View:
    return tuple(image.shape), image.stride(), int(image.storage_offset())


def _repeated(tiles: Tensor, size: Size, step: int, mode: Mode) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows, then columns of pixels next to the image, and those that they repeat."""
    if mode == "zeros":
        return
    for axis, length in enumerate(size):
        behind = length + 1 - step * (tiles.shape[1 + axis] - 1)
        for tile, pixel, inwards in ((0, 0, _INWARDS[mode]), (-1, behind, -_INWARDS[mode])):
            edge = tiles.select(1 + axis, tile)
            yield edge.select(2 + axis, pixel), edge.select(2 + axis, pixel + inwards)


def gather(
    image: Tensor,
    step: int,
    side: int,
    padding: int = 0,
    mode: Mode = "zeros",
) -> Tensor:
    """[N, C, H, W] to tiles [tiles, side * side, C], in scratch memory.

    Args:
        image: what to cut.
        step: pixels from a tile to the next.
        side: of a tile in pixels.
        padding: pixels outside of the image that tiles cover on every side; on the right and at
            the bottom more, if that is not a whole tile.
        mode: of the pixels next to the image; unless zeros, `padding` is 1.
    """
    plan = _plan(_view(image), step, side, padding, apart=False)
    tiles = scratch("tiles", *plan.shape, like=image)
    for view in plan.outside:
        tiles.as_strided(*view).zero_()
    for ours, theirs in plan.parts:
        tiles.as_strided(*ours).copy_(image.as_strided(*theirs))
    for pixels, repeated in _repeated(tiles, image.shape[2:], step, mode):
        pixels.copy_(repeated)
    return tiles.view(-1, side * side, tiles.shape[-1])


def scatter(
    tiles: Tensor, image: Tensor, step: int, side: int, padding: int = 0, mode: Mode = "zeros"
) -> None:
    """The transpose of `gather`: tiles [tiles, side * side, C] are summed up in `image`.

    Args:
        tiles: what to put there; contiguous, and changed.
        image: [N, C, H, W]; what it has is lost.
        step: pixels from a tile to the next, at least half of `side`.
        side: of a tile in pixels.
        padding: as of `gather`; what lies there is left out.
        mode: as of `gather`; what lies next to the image is added to the pixel that it repeats.
    """
    plan = _plan(_view(image), step, side, padding, apart=True)
    tiles = tiles.view(plan.shape)
    for pixels, repeated in reversed(list(_repeated(tiles, image.shape[2:], step, mode))):
        repeated.add_(pixels)
    for ours, theirs in plan.parts:
        image.as_strided(*theirs).copy_(tiles.as_strided(*ours))
    for ours, theirs in plan.shared:
        image.as_strided(*theirs).add_(tiles.as_strided(*ours))
