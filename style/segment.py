"""Label maps without a map: regions of two pictures that are alike in colour and place.

This is no recognition of objects. Pixels of both pictures are grouped together by k-means over
their colour, relative to each picture's own mean and spread, and their place: the brightest part at
the top of one picture is taken for the same as that of the other. Skies find skies and grounds find
grounds in most landscapes; a red car and a red roof are one thing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from core.data.images import rgb_of
from style.labels import LabelMap, Labels

Points = npt.NDArray[np.float64]
_SIDE = 96
"""Pixels; longer side at which pictures are grouped."""
_PLACE = (3.0, 0.3)
"""Weight of a place down and across (in picture sides) beside colours (in their spreads)."""
_ROUNDS = 25
_MAJORITY = 5
"""Side in pixels of the window whose most frequent class a pixel takes."""


def segment(pictures: Sequence[Image.Image], num_classes: int) -> list[LabelMap]:
    """Return a map of each picture, ids 0..num_classes - 1 with one meaning in all of them.

    Args:
        pictures: any sizes and modes.
        num_classes: 2 at least; classes that a picture has nothing of are absent from its map.
    """
    small = [_small(picture) for picture in pictures]
    points = [_points(picture) for picture in small]
    centres = _centres(np.concatenate(points), num_classes)
    maps = []
    for picture, own in zip(small, points, strict=True):
        nearest = _distances(own, centres).argmin(1).reshape(picture.height, picture.width)
        smooth = Image.fromarray(nearest.astype(np.uint8)).filter(ImageFilter.ModeFilter(_MAJORITY))
        ids: Labels = np.asarray(smooth).astype(np.int64)
        maps.append(LabelMap(ids, "automatic mask"))
    return maps


def _small(picture: Image.Image) -> Image.Image:
    rgb = Image.fromarray(rgb_of(picture))
    share = min(1.0, _SIDE / max(rgb.size))
    size = (max(1, round(rgb.width * share)), max(1, round(rgb.height * share)))
    return rgb.resize(size, Image.Resampling.BOX)


def _points(picture: Image.Image) -> Points:
    """Describe each pixel, [H * W, 5]: luminance and two chromas, standardised, and its place."""
    colours = np.asarray(picture.convert("YCbCr"), np.float64).reshape(-1, 3)
    colours = (colours - colours.mean(0)) / np.maximum(colours.std(0), 4.0)  # a gray one has none
    down, across = np.mgrid[: picture.height, : picture.width].reshape(2, -1)
    places = np.stack([down / picture.height, across / picture.width], 1)
    return np.concatenate([colours, places * 2 * np.array(_PLACE)], 1)


def _distances(points: Points, centres: Points) -> Points:
    """Return squared distances [points, centres]."""
    return np.square(points[:, None] - centres[None]).sum(-1)


def _centres(points: Points, number: int) -> Points:
    """Find centres by k-means, begun far apart (k-means++, Arthur and Vassilvitskii 2007)."""
    rng = np.random.default_rng(0)
    centres = points[rng.integers(len(points), size=1)]
    for _ in range(number - 1):
        far = _distances(points, centres).min(1)
        chosen = rng.choice(len(points), p=far / far.sum()) if far.any() else 0
        centres = np.concatenate([centres, points[chosen : chosen + 1]])
    for _ in range(_ROUNDS):
        nearest = _distances(points, centres).argmin(1)
        for place in set(nearest.tolist()):
            centres[place] = points[nearest == place].mean(0)
    return centres
