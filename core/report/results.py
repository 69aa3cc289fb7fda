"""The writer of results that a person looks at: a picture in the depth and range of its levels.

What a PNG file holds so that every viewer shows it right, 8 bits or the full range of 16, is a PNG
file alone. Other numbers (12 bits, signed, floating point, many bands) go into a TIFF file of the
same name, with an 8-bit PNG beside it to look at. Label maps become colours in the PNG file, and
their class numbers a second one, `<name>_ids.png`. Colours are sRGB, and PNG files say so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.data.picture import Picture
from core.report.encoding import write_png, write_tiff
from core.report.looks import Look, class_numbers
from core.runtime.files import write_file

_PLAIN = Look()


def save_picture(picture: Picture, path: Path, look: Look = _PLAIN, **texts: str) -> None:
    """Write a picture as PNG, and where that cannot hold it whole as TIFF beside it.

    Args:
        picture: of any depth and bands.
        path: the PNG file; replaced if it exists, as is the TIFF file.
        look: what the PNG file shows of a picture of many channels.
        texts: kept in an 8-bit PNG file, as Pillow's `info`.

    Raises:
        UserError: a file cannot be written.
    """
    seen = picture
    if picture.pixels.shape[2] not in (1, 3) or look.classes:
        planes = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)
        planes = planes * 2 - 1 if picture.levels.deep else planes
        if look.classes:
            ids = Image.fromarray(class_numbers(planes).numpy().astype(np.uint8))
            write_file(path.with_name(f"{path.stem}_ids.png"), lambda file: ids.save(file, "PNG"))
        chosen = look.row(planes)[:3].permute(1, 2, 0).contiguous().numpy()
        if picture.levels.deep:
            chosen = (chosen.astype(np.float32) + np.float32(1)) / np.float32(2)
        seen = picture.with_pixels(chosen, picture.levels)
    if look.classes:
        seen = seen.in_8_bits()
    elif seen is not picture or not picture.levels.in_png:
        write_file(path.with_suffix(".tif"), lambda file: write_tiff(file, picture))
        seen = seen.in_8_bits()
    write_file(path, lambda file: write_png(file, seen, **texts))
