"""What a picture file holds, as Pillow, tifffile or NumPy give it, before black and white are set.

Pillow cuts 16-bit colours down to their higher 8 bits, does not invert 16-bit WhiteIsZero and does
not scale 12 bits; all three are mended here from the file's own tags. What Pillow cannot open at
all (bands, 64-bit numbers) tifffile reads.
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from core.data.color import changes_colours, to_srgb
from core.data.icc import matrix_to_srgb
from core.data.picture import EIGHT_BITS, SIXTEEN_BITS, Levels, Numbers
from core.errors import UserError

_HALVED = re.compile(r"(LA|RGB|RGBA|RGBX|CMYK);16([BLN])")
"""Raw modes of 16-bit samples of which Pillow keeps the higher 8 bits, with their byte order."""
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274  # TIFF tags
_WHITE_IS_ZERO = 0
_TRANSPOSED = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class Stored:
    """What a file holds, upright.

    Attributes:
        values: [H, W, C] as stored; C without alpha.
        alpha: [H, W, 1] in the same type, or None.
        levels: Black and white where the file or its type states them, else None.
        mode: Pillow's mode, or the stored type and bands.
    """

    values: Numbers
    alpha: Numbers | None
    levels: Levels | None
    mode: str


def of_pillow(image: Image.Image, name: object) -> Stored:
    """Decode an image that Pillow has opened, perhaps loaded already.

    Raises:
        Exception: Almost anything, on malformed bytes.
    """
    raw, tags = raw_mode(image), _tags(image)
    halved = _HALVED.fullmatch(raw)
    lower = _lower_bytes(image, halved[1], halved[2]) if halved else None
    image.load()
    mode, kind = image.mode, image.format
    if lower is not None:
        return _of_halves(image, lower, name, gray=raw.startswith("LA"))
    image = _upright_image(image)
    if mode.startswith("I;16") or (mode == "I" and kind in {"PNG", "PPM"}):
        values = np.asarray(image).astype(np.uint16)[..., None]
        levels = replace(SIXTEEN_BITS, white=2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            values = (levels.white - values).astype(np.uint16)
        return Stored(values, _keyed(values, image), levels, mode)
    if mode in {"I", "F"}:
        values = np.asarray(image)[..., None]
        numbers = of_numbers(values.astype(np.int16) if raw == "I;16S" else values, alpha=False)
        return replace(numbers, mode=mode)
    return _of_8_bits(image, name, mode)


def _of_8_bits(image: Image.Image, name: object, mode: str) -> Stored:
    image = to_srgb(image, name)
    gray = image.mode in {"1", "L", "LA"}
    if image.has_transparency_data:
        array = np.asarray(image.convert("LA" if gray else "RGBA"))
        return Stored(array[..., :-1], array[..., -1:], EIGHT_BITS, mode)
    wanted = "L" if gray else "RGB"
    array = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return Stored(array.reshape(*array.shape[:2], -1), None, EIGHT_BITS, mode)


def raw_mode(image: Image.Image) -> str:
    """Return how a file's samples are stored, in Pillow's words; "" once they are loaded."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    return str(arguments if isinstance(arguments, str) else next(iter(arguments or ()), ""))


def _upright_image(image: Image.Image) -> Image.Image:
    """Return the image itself where EXIF does not turn it; never change it."""
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _lower_bytes(image: Image.Image, mode: str, order: str) -> Image.Image:
    """Decode 16-bit colours again as if in the other byte order, so that Pillow keeps the rest."""
    source: Any = getattr(image, "filename", "")
    if not source:
        stream: Any = image.fp  # type: ignore[attr-defined]
        stream.seek(0)
        source = io.BytesIO(stream.read())
    again: Any = Image.open(source, formats=[str(image.format)])
    again.seek(image.tell())
    # Gray and alpha, of two bytes each, are the four bytes of RGBA.
    wanted = "RGBA" if mode == "LA" else f"{mode};16{_OTHER_ORDER[order]}"
    again.tile = [
        tile._replace(args=wanted if isinstance(tile[3], str) else (wanted, *tile[3][1:]))
        for tile in again.tile
    ]
    again.load()
    return again


def _of_halves(image: Image.Image, lower: Image.Image, name: object, *, gray: bool) -> Stored:
    """Join the two bytes of 16-bit samples."""
    halves = (_upright_image(half) for half in (image, lower))
    first, second = (np.asarray(half).astype(np.uint16) for half in halves)
    values = second[..., 0::2] * 256 + second[..., 1::2] if gray else first * 256 + second
    profile = image.info.get("icc_profile")
    by_matrix = matrix_to_srgb(profile) if profile and image.mode in {"RGB", "RGBA"} else None
    if by_matrix is not None:
        if changes_colours(image, name):
            colours = by_matrix(values[..., :3] / 65535)
            values[..., :3] = np.rint(colours * 65535).astype(np.uint16)
    elif profile and not gray:  # Pillow's colour management has 8 bits
        rounded = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        bands = [Image.fromarray(band) for band in np.moveaxis(rounded, 2, 0)]
        flat = Image.merge(image.mode, bands)
        flat.info["icc_profile"] = image.info["icc_profile"]
        return _of_8_bits(flat, name, image.mode)
    if image.mode == "CMYK":
        paper = 65535 - values.astype(np.uint32)
        values = (paper[..., :3] * paper[..., 3:] // 65535).astype(np.uint16)
    elif image.mode == "RGBA":
        return Stored(values[..., :-1], values[..., -1:], SIXTEEN_BITS, f"{image.mode};16")
    return Stored(values, _keyed(values, image), SIXTEEN_BITS, f"{image.mode};16")


def _keyed(values: Numbers, image: Image.Image) -> Numbers | None:
    """Return the alpha of a colour that a PNG file calls transparent."""
    key = image.info.get("transparency")
    if key is None:
        return None
    return np.where((values == key).all(-1, keepdims=True), 0, 65535).astype(np.uint16)


# -- what Pillow does not open ----------------------------------------------------------------


def of_tiff(file: Path | io.BytesIO, directory: int, name: object) -> Stored:
    """Read a page of a TIFF file of any bands and numbers.

    Raises:
        Exception: Almost anything, on malformed bytes.
    """
    import tifffile  # noqa: PLC0415  (few need it)

    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages[directory]
        require_pixels(page.imagewidth, page.imagelength, name)
        values = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
            values = np.moveaxis(values, 0, 2)
        tag: Any = page.tags.get(_ORIENTATION)
        orientation = int(tag.value) if tag else 1
        bits, inverted = page.bitspersample, page.photometric == _WHITE_IS_ZERO
        extra = page.extrasamples
    values = _upright(values.reshape(*values.shape[:2], -1), orientation)
    stored = of_numbers(values, bits, alpha=values.shape[2] in (2, 4) and any(extra))
    if inverted and stored.levels is not None:
        white = stored.levels.white
        return replace(stored, values=(white - stored.values).astype(stored.values.dtype))
    return stored


def of_array(file: Path | io.BytesIO, name: object) -> Stored:
    """Read a NumPy array [H, W] or [H, W, C], from `.npy`, or the only one of `.npz`.

    Raises:
        Exception: What NumPy raises on other files; ValueError for other shapes.
    """
    mapped = isinstance(file, Path) and file.suffix == ".npy"
    found = np.load(file, allow_pickle=False, mmap_mode="r" if mapped else None)
    if not isinstance(found, np.ndarray):
        with found:
            (name,) = found.files
            found = found[name]
    if found.ndim not in (2, 3) or not found.size:
        raise ValueError(f"shape {found.shape}; a picture is [H, W] or [H, W, C]")
    require_pixels(found.shape[1], found.shape[0], name)
    return of_numbers(np.array(found).reshape(*found.shape[:2], -1), alpha=False)


def of_numbers(values: Numbers, bits: int | None = None, *, alpha: bool) -> Stored:
    """Say what an array [H, W, C] is: 8 bits, 16 bits or `bits` of them, or other numbers.

    Raises:
        ValueError: Numbers that are neither integers nor real.
    """
    mode = f"{values.dtype} x {values.shape[2]}"
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{values.dtype} pixels")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("values that are not finite (NaN or infinity)")
    levels = {"uint8": EIGHT_BITS, "uint16": SIXTEEN_BITS}.get(values.dtype.name)
    if levels == SIXTEEN_BITS and bits:
        levels = replace(SIXTEEN_BITS, white=2**bits - 1)
    if alpha:
        return Stored(values[..., :-1], values[..., -1:], levels, mode)
    return Stored(values, None, levels, mode)


def _upright(values: Numbers, orientation: int) -> Numbers:
    if orientation in _TRANSPOSED:
        values = values.swapaxes(0, 1)
    return values[
        :: -1 if orientation in {3, 4, 7, 8} else 1, :: -1 if orientation in {2, 3, 6, 7} else 1
    ]


def require_pixels(width: int, height: int, name: object) -> None:
    """Refuse a picture of more pixels than allowed, before it takes memory.

    Raises:
        UserError: It has more.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit and width * height > 2 * limit:
        raise UserError(
            f"{name}: too large to decode safely ({width} x {height} pixels, at most "
            f"{2 * limit:,}); scale it down, or raise --max-pixels if you trust it"
        )
