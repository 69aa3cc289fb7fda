"""A `Picture` as the bytes of a file: PNG, JPEG, WebP or TIFF, without torch.

Pictures are upright and sRGB (`core.data.images`), and so are the files: there is no EXIF
orientation in them, PNG files say that they are sRGB, and the others mean it where they say
nothing.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO, Literal, get_args

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.data.picture import Numbers, Picture
from core.errors import UserError

FileFormat = Literal["png", "jpg", "webp", "tif"]
"""Kinds of files, by their suffix."""
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
LOSSY: tuple[FileFormat, ...] = ("jpg", "webp")
"""Kinds of files that have a quality."""
QUALITY = 95
_FULL_COLOUR = 90
"""Quality from which JPEG keeps a colour for every pixel, not for every four."""

_COLOUR_TYPES = {(1, False): 0, (3, False): 2, (1, True): 4, (3, True): 6}
_PERCEPTUAL = b"\0"
_EFFORT = 2
"""Of zlib, 0 to 9. Photos take 0.4 of the time of Pillow's 6, and get no larger by zlib-ng."""
_UP = b"\2"
"""PNG's filter: each byte less the one above it."""


def encode(picture: Picture, kind: FileFormat, quality: int = QUALITY) -> bytes:
    """Return a picture as the content of a file.

    PNG keeps 8 and full 16 bits, TIFF everything. JPEG and WebP have 8 bits, to which more are
    rounded; JPEG lays transparency over white.

    Args:
        picture: of any depth and bands that the kind of file can hold.
        kind: of file.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        UserError: bands, or for PNG numbers, that the kind of file cannot hold.
    """
    stream = io.BytesIO()
    if kind == "tif":
        write_tiff(stream, picture)
    elif kind == "png":
        if not picture.levels.in_png or picture.pixels.shape[2] not in (1, 3):
            raise UserError(
                f"{picture.name}: {picture.levels.dtype} x {picture.pixels.shape[2]} is more than "
                "a PNG file can hold; use --format tif"
            )
        write_png(stream, picture)
    elif kind == "jpg":
        image = picture.to_pil()
        if image.mode == "RGBA":
            image = Image.fromarray(picture.in_8_bits().channels(3))
        subsampling = 0 if quality >= _FULL_COLOUR else 2
        image.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    else:
        picture.to_pil().save(stream, "WEBP", quality=quality)
    return stream.getvalue()


def write_png(file: BinaryIO, picture: Picture, **texts: str) -> None:
    """Write gray or colours of 8 or full 16 bits; `texts` are kept where there are 8."""
    if picture.levels.deep:
        _write_png16(file, picture.stored(), picture.alpha is not None)
        return
    info = PngInfo()
    info.add(b"sRGB", _PERCEPTUAL)
    for key, value in texts.items():
        info.add_text(key, value)
    values = picture.stored()
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    image.save(file, format="PNG", pnginfo=info, compress_level=_EFFORT)


def write_tiff(file: BinaryIO, picture: Picture) -> None:
    """Write numbers of any type and bands."""
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
