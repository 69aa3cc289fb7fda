"""A picture to see what is in a data set: a row of images from each folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from core.data.check import Part
from core.data.images import read_picture
from core.data.picture import Picture
from core.errors import UserError
from core.report.pictures import captioned, save_png, scaled, shown, table, thumbnail

_COLUMNS = 8
_SIDE = 160
"""Pixels of an image's longer side; smaller images are enlarged by whole factors."""


def write_contact_sheet(parts: Sequence[Part], path: Path) -> None:
    """Draw up to eight images of each part, spread evenly over it, with their names.

    Images of more than 8 bits are shown over the range of values that their part has.

    Raises:
        UserError: no image in files, another suffix than .png, or the picture cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(
            f"--sheet {path}: is written as PNG; name it {path.with_suffix('.png').name}"
        )
    rows = []
    for part in (part for part in parts if part.files):
        number = min(_COLUMNS, len(part.files))
        chosen = [part.files[i * len(part.files) // number] for i in range(number)]
        rows.append([_labelled(file, part) for file in chosen])
    if not rows:
        raise UserError(f"--sheet {path}: there are no image files to draw")
    save_png(table(rows), path)


def _labelled(file: Path, part: Part) -> Image.Image:
    seen = thumbnail(_seen(read_picture(file, part.span)), _SIDE)
    enlarged = scaled(seen, max(1, _SIDE // max(seen.size)))
    return captioned(enlarged, f"{part.name}: {file.name}")


def _seen(picture: Picture) -> Image.Image:
    if picture.pixels.shape[2] in (1, 3):
        return picture.to_pil()
    planes = shown(torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1))[:3]
    pixels = planes.permute(1, 2, 0).contiguous().numpy()
    return picture.with_pixels(pixels, picture.levels).to_pil()
