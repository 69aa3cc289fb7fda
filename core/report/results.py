"""The one writer of results: a `Picture` becomes files in the depth and range of its levels.

What a PNG file holds so that every viewer shows it right, 8 bits or the full range of 16, is a PNG
file alone. Other numbers (12 bits, signed, floating point, many bands) go into a TIFF file of the
same name, with an 8-bit PNG beside it to look at. Colours are sRGB, and PNG files say so.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.data.picture import Numbers, Picture
from core.report.pictures import shown, write_file

_COLOUR_TYPES = {(1, False): 0, (3, False): 2, (1, True): 4, (3, True): 6}
_PERCEPTUAL = b"\0"
_UP = b"\2"
"""PNG's filter: each byte less the one above it."""


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
        write_file(path.with_suffix(".tif"), lambda file: _write_tiff(file, picture))
        seen = seen.in_8_bits()
    if seen.levels.deep:
        write_file(path, lambda file: _write_png16(file, seen.stored(), seen.alpha is not None))
        return
    info = PngInfo()
    info.add(b"sRGB", _PERCEPTUAL)
    for key, value in texts.items():
        info.add_text(key, value)
    values = seen.stored()
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    write_file(path, lambda file: image.save(file, format="PNG", pnginfo=info))


def _write_tiff(file: BinaryIO, picture: Picture) -> None:
    import tifffile  # noqa: PLC0415  (few need it)

    values = picture.stored()
    colours = picture.pixels.shape[2] == 3
    tifffile.imwrite(
        file,
        values[..., 0] if values.shape[2] == 1 else values,
        photometric="rgb" if colours else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if picture.alpha is not None else None,
        compression="zlib",
    )


def _write_png16(file: BinaryIO, values: Numbers, alpha: bool) -> None:
    """Write unsigned 16-bit samples [H, W, C], which Pillow can in gray only."""
    height, width, bands = values.shape
    rows = np.ascontiguousarray(values, dtype=">u2").view(np.uint8).reshape(height, -1)
    filtered = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    packed = zlib.compressobj(6)
    data = b"".join(packed.compress(_UP + row.tobytes()) for row in filtered) + packed.flush()
    kind = _COLOUR_TYPES[bands - alpha, alpha]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    for name, content in (
        (b"IHDR", header),
        (b"sRGB", _PERCEPTUAL),
        (b"IDAT", data),
        (b"IEND", b""),
    ):
        checksum = zlib.crc32(name + content)
        file.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum))
