"""The writer of results that a person looks at: a picture in the depth and range of its levels.

What a PNG file holds so that every viewer shows it right, 8 bits or the full range of 16, is a PNG
file alone. Other numbers (12 bits, signed, floating point, many bands) go into a TIFF file of the
same name, with an 8-bit PNG beside it to look at. Colours are sRGB, and PNG files say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from core.data.picture import Picture
from core.report.encoding import write_png, write_tiff
from core.report.pictures import shown
from core.runtime.files import write_file


def save_picture(
    picture: Picture, path: Path, bands: Sequence[int] | None = None, **texts: str
) -> None:
    """Write a picture as PNG, and where that cannot hold it whole as TIFF beside it.

    Args:
        picture: of any depth and bands.
        path: the PNG file; replaced if it exists, as is the TIFF file.
        bands: what the PNG file shows of a picture of many bands (`core.report.pictures.shown`).
        texts: kept in an 8-bit PNG file, as Pillow's `info`.

    Raises:
        UserError: a file cannot be written.
    """
    seen = picture
    if picture.pixels.shape[2] not in (1, 3):
        planes = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)
        chosen = shown(planes, bands)[:3].permute(1, 2, 0).contiguous()
        seen = picture.with_pixels(chosen.numpy(), picture.levels)
    if seen is not picture or not picture.levels.in_png:
        write_file(path.with_suffix(".tif"), lambda file: write_tiff(file, picture))
        seen = seen.in_8_bits()
    write_file(path, lambda file: write_png(file, seen, **texts))
