"""Label maps: which parts of the content take the style of which parts of a style image.

Every map is read by one rule, and both methods take the same classes from it:

- One channel (gray of 2 to 16 bits, palette indices): the stored values are the classes' ids, as in
  the official FastPhotoStyle.
- Palettes count by their colours where the maps of a transfer do not agree on them, or one of them
  has no palette but colours. (A palette whose colours tell nothing apart always counts by indices.)
- Colours: each is a class; a gray one is the id of its level. Transparency is laid over white.
- What is transparent in an image belongs to no class, with and without maps.
- More than `MOST_CLASSES` colours or levels, nearly all of the area close to one of `PURE_COLOURS`:
  a drawing whose edges are soft (antialiased, scaled, JPEG). A pixel counts as that colour where
  its 3 x 3 neighbourhood agrees; edges, with whatever colour they pass through, go to the class
  beside them. Details thinner than 3 pixels are lost. Many colours of any other kind are an error.
- A map needs the shape of its image, not its size.
- A class is transferred if both maps have more than 10 pixels of it, and neither 100 times as many
  as the other (official `photo_wct.py`). All else takes no style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.data.images import rgb_of
from core.errors import UserError

Labels = npt.NDArray[np.int64]
Hidden = npt.NDArray[np.bool_]

PURE_COLOURS = np.array([*product((0, 255), repeat=3), (128, 128, 128)], dtype=np.int64)
"""Colours of maps that are drawn by hand: black, white, gray and the six full ones."""
MOST_CLASSES = 64
"""A map with more colours than this either has soft edges or is no map."""
_FIRST_COLOUR = 1 << 16
"""Id of black as a colour: behind all ids that one channel can hold."""
_NEAR = 32
"""Levels, in any channel, by which a pixel of a pure colour may be off."""
_LEAST_NEAR = 0.8
"""Share of such pixels in a drawing."""
_MIN_PIXELS = 10
_MAX_RATIO = 100
_HALF_OPAQUE = 128
"""Alpha from which on a pixel is visible."""
_SHAPE_TOLERANCE = 0.02
"""Relative difference up to which a map has the aspect ratio of its image."""


@dataclass(frozen=True)
class LabelMap:
    """Classes at the map's own resolution.

    Attributes:
        ids: [H, W].
        name: What errors call the map.
        hidden: [H, W], True where the image is transparent; None where all is visible.
        nothing: Id of what is hidden, of which no other map has a pixel.
    """

    ids: Labels
    name: str = "mask"
    hidden: Hidden | None = None
    nothing: int = -1

    @property
    def shown(self) -> Labels:
        """Ids [H, W] with `nothing` where the image is transparent."""
        return self.ids if self.hidden is None else np.where(self.hidden, self.nothing, self.ids)


def read_labels(mask: Image.Image, name: str = "mask", *, by_colour: bool = False) -> Labels:
    """Read the class ids [H, W] of a map of any mode; palettes by their indices or `by_colour`.

    Raises:
        UserError: floating point values, or many colours that are not those of a drawing.
    """
    name = mask.info.get("file", name)  # as `core.data.images.open_label_map` leaves it
    if (mask.mode == "P" and not by_colour) or mask.mode.startswith("I"):
        return np.asarray(mask).astype(np.int64)
    rgb = rgb_of(mask, name).astype(np.int64)
    packed, inverse = np.unique(_packed(rgb), return_inverse=True)
    inverse = inverse.reshape(rgb.shape[:2])
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)
    if len(packed) > MOST_CLASSES:
        off = np.abs(colours[:, None] - PURE_COLOURS).max(-1)
        nearest = np.where(off.min(1) <= _NEAR, off.argmin(1), -1)[inverse]
        if (nearest >= 0).mean() >= _LEAST_NEAR:
            return _ids(PURE_COLOURS)[_without_edges(nearest, name)]
        if mask.mode != "L":
            raise UserError(
                f"{name}: {len(packed)} colours, and few of its pixels are black, white, gray 128, "
                "red, green, blue, yellow, cyan or magenta: neither a drawing in these nor a map "
                f"of at most {MOST_CLASSES} colours; draw it in pure colours, or save class ids as "
                "a gray PNG"
            )
    return _ids(colours)[inverse]


def _packed(colours: Labels) -> Labels:
    """Turn [..., 3] into 0xRRGGBB."""
    return (colours << np.array([16, 8, 0])).sum(-1)


def _ids(colours: Labels) -> Labels:
    """Return the class of each of [K, 3] colours."""
    is_gray = (colours == colours[:, :1]).all(1)
    return np.where(is_gray, colours[:, 0], _FIRST_COLOUR + _packed(colours))


def _without_edges(nearest: Labels, name: str) -> Labels:
    """Give soft edges to the pure colours beside them.

    Args:
        nearest: places of the pure colours, [H, W], -1 where a pixel has none.
        name: what errors call the map.

    Raises:
        UserError: no area of a pure colour.
    """
    height, width = nearest.shape
    around = np.pad(nearest, 1, mode="edge")
    same = [
        around[y : y + height, x : x + width] == nearest for y, x in product(range(3), range(3))
    ]
    found = np.where(np.all(same, 0), nearest, -1)
    if (found < 0).all():
        raise UserError(f"{name}: no area of one colour in it; is it a label map?")
    while (found < 0).any():
        before = np.pad(found, 1, constant_values=-1)
        for beside in (before[:-2, 1:-1], before[2:, 1:-1], before[1:-1, :-2], before[1:-1, 2:]):
            found = np.where(found < 0, beside, found)
    return found


def read_maps(
    content: Image.Image,
    styles: Sequence[Image.Image],
    content_mask: Image.Image | None,
    style_masks: Sequence[Image.Image | None],
) -> tuple[LabelMap, list[LabelMap]] | None:
    """Read the maps of the content and of every style; None where there are none.

    Raises:
        UserError: maps for some of the images only, of another shape than theirs, or unreadable.
    """
    given = [mask for mask in style_masks if mask is not None]
    hidden = [_hidden(image) for image in (content, *styles)]
    if content_mask is None and not given:
        if all(each is None for each in hidden):
            return None
        pairs = zip((content, *styles), hidden, strict=True)
        visible = [_visible(place, *pair) for place, pair in enumerate(pairs)]
        return visible[0], visible[1:]
    if content_mask is None or len(given) != len(styles):
        raise UserError(
            f"masks: {int(content_mask is not None)} of 1 content and {len(given)} of "
            f"{len(styles)} style images have one; give all of them or none"
        )
    maps: list[LabelMap] = []
    by_colour = _palettes_differ((content_mask, *given))
    for image, mask, parts in zip((content, *styles), (content_mask, *given), hidden, strict=True):
        name = mask.info.get("file", "style mask" if maps else "content mask")
        width = mask.height * image.width / image.height
        # A small map cannot have the ratio exactly.
        if abs(mask.width - width) > max(1.0, _SHAPE_TOLERANCE * width):
            raise UserError(
                f"{name}: {mask.width}x{mask.height} pixels is another shape than its image's "
                f"{image.width}x{image.height}; scale or crop it like the image"
            )
        scaled = None
        if parts is not None:
            scaled = np.asarray(Image.fromarray(parts).resize(mask.size, Image.Resampling.NEAREST))
        ids = read_labels(mask, name, by_colour=by_colour)
        maps.append(LabelMap(ids, name, scaled, -1 - len(maps)))
    return maps[0], maps[1:]


def _hidden(image: Image.Image) -> Hidden | None:
    """Return where an image is transparent, [H, W]; None if nowhere."""
    if image.mode not in {"LA", "RGBA"}:
        return None
    hidden = np.asarray(image.getchannel("A")) < _HALF_OPAQUE
    return hidden if hidden.any() else None


def _visible(place: int, image: Image.Image, hidden: Hidden | None) -> LabelMap:
    """Make the map of an image without one: a single class, what is visible."""
    ids = np.zeros((image.height, image.width), np.int64)
    return LabelMap(ids, "style" if place else "content", hidden, -1 - place)


def _palettes_differ(masks: Sequence[Image.Image]) -> bool:
    """Tell whether palettes must be taken by their colours: see the rules above."""
    palettes = [_palette(mask) for mask in masks if mask.mode == "P"]
    if any(len(set(colours.values())) < len(colours) for colours in palettes):
        return False
    if any(mask.mode in {"RGB", "RGBA"} for mask in masks):
        return True
    return any(_disagree(a, b) for a, b in combinations(palettes, 2))


def _palette(mask: Image.Image) -> dict[int, tuple[int, ...]]:
    """Return {index: colour} of the indices that a map uses."""
    colours = np.zeros((256, 3), np.uint8)
    stored = np.array(mask.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(stored)] = stored
    return {int(i): tuple(colours[i].tolist()) for i in np.unique(np.asarray(mask))}


def _disagree(a: Mapping[int, tuple[int, ...]], b: Mapping[int, tuple[int, ...]]) -> bool:
    """Tell whether one index has two colours, or one colour two indices."""
    places = {colour: i for i, colour in a.items()}
    return any(a.get(i, c) != c or places.get(c, i) != i for i, c in b.items())


def valid_classes(content: Labels, style: Labels) -> dict[int, bool]:
    """Return {class of the content: whether it is transferred}, by the official rule."""
    result = {}
    for label, num in zip(*np.unique(content, return_counts=True), strict=True):
        less, more = sorted((int(num), int((style == label).sum())))
        result[int(label)] = less > _MIN_PIXELS and more < _MAX_RATIO * less
    return result


def shared_classes(content: LabelMap, styles: Sequence[LabelMap]) -> list[tuple[int, ...]]:
    """Return the classes that the content takes from each style.

    Raises:
        UserError: none from any.
    """
    shared = [
        tuple(label for label, valid in valid_classes(content.shown, style.shown).items() if valid)
        for style in styles
    ]
    if not any(shared):
        maps = "; ".join(f"{m.name}: {_listed(m.shown)}" for m in (content, *styles))
        raise UserError(
            f"masks: no class has more than {_MIN_PIXELS} pixels in both maps, and in none "
            f"{_MAX_RATIO} times as many as in the other ({maps}); use the same ids or colours"
        )
    return shared


def _listed(labels: Labels) -> str:
    """Name the eight largest classes and their pixels, the largest first."""
    ids, counts = np.unique(labels, return_counts=True)
    return ", ".join(
        f"{ids[k] if ids[k] < _FIRST_COLOUR else f'#{ids[k] - _FIRST_COLOUR:06x}'} ({counts[k]} px)"
        for k in counts.argsort(kind="stable")[::-1][:8]
    )
