"""Label maps as networks take and give them: one channel for each class."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.images import ARRAYS, decode_stored, open_label_map, read_stored
from core.data.medical import is_medical
from core.data.picture import Pixels
from core.errors import UserError

Ids = npt.NDArray[np.int64]
NO_CLASS = 255
"""The id of pixels that belong to no class, as in Cityscapes and many others."""


def read_ids(path: Path, content: bytes | None = None) -> Ids:
    """Read the class numbers [H, W] of a label map, from a file or from its `content`.

    Palettes go by index and gray by its stored value.

    Raises:
        UserError: It cannot be read, or holds colours or fractions.
    """
    if path.suffix.lower() in ARRAYS or is_medical(path):
        stored = read_stored(path) if content is None else decode_stored(content, str(path))
        return as_ids(stored.values, path)
    image = open_label_map(path, content)
    if image.mode.startswith("RGB"):
        raise UserError(
            f"{path}: holds colours, but class numbers are wanted; save the map as gray or with a "
            "palette"
        )
    return as_ids(np.asarray(image), path)


def as_ids(values: npt.NDArray[Any], name: object) -> Ids:
    """Return class numbers [H, W] of an array [H, W] or [H, W, 1].

    Raises:
        UserError: It has several bands, or values that are no whole numbers.
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise UserError(f"{name}: {values.dtype} of shape {values.shape} is no label map [H, W]")
    ids = np.rint(values.astype(np.float64)) if values.dtype.kind == "f" else values
    if values.dtype.kind == "f" and not np.abs(ids - values).max() < 1e-3:
        raise UserError(f"{name}: has fractions, but class numbers are wanted")
    return ids.astype(np.int64)


def one_hot(ids: Ids, classes: int, name: object) -> Pixels:
    """Return uint8 [H, W, classes], 255 at a pixel's class; `NO_CLASS` has none.

    Raises:
        UserError: There is another class.
    """
    beyond = ids[(ids < 0) | ((ids >= classes) & (ids != NO_CLASS))]
    if beyond.size:
        raise UserError(
            f"{name}: holds class {beyond[0]}, but labels: {classes} has 0 to {classes - 1} "
            f"(and {NO_CLASS} for none)"
        )
    return (ids[..., None] == np.arange(classes)).astype(np.uint8) * np.uint8(255)


@lru_cache
def palette(classes: int) -> npt.NDArray[np.uint8]:
    """Return a colour for each class [classes, 3]; neighbouring numbers differ clearly."""
    colours = [
        colorsys.hsv_to_rgb((0.6 + i * 0.618034) % 1, 0.35 + 0.3 * (i % 3), 0.95 - 0.2 * (i % 2))
        for i in range(classes)
    ]
    return np.rint(np.array(colours) * 255).astype(np.uint8)
