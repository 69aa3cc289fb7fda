"""The one reader of picture files: whatever a user has becomes a `Picture`, or is refused clearly.

Training, evaluation, translation, stylization and the checks all read here, so that a file means
the same pixels everywhere. Deviations from the official code
(junyanz/pytorch-CycleGAN-and-pix2pix, `data/image_folder.py`, which calls
`Image.open(path).convert("RGB")`): EXIF rotation is applied, transparency is laid over white
instead of exposing the colours underneath, colour profiles are converted to sRGB, more than 8 bits
are kept, and every suffix that Pillow knows is found.
"""

from __future__ import annotations

import io
import logging
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from core.data.medical import is_medical, of_medical
from core.data.pages import split_page, tiff_directory
from core.data.picture import Levels, Numbers, Picture
from core.data.stored import Stored, of_array, of_pillow, of_tiff, raw_mode, require_pixels
from core.errors import UserError
from core.options import Span

log = logging.getLogger(__name__)

Image.preinit()  # the common formats first: they are tried in this order
Image.init()
_NEVER = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
FORMATS = tuple(kind for kind in Image.ID if kind not in _NEVER)
"""Pillow's formats that are opened. Left out are those that start another program (PostScript) and
those that have no decoder."""

ARRAYS = frozenset({".npy", ".npz"})
"""Extensions of NumPy arrays that are pictures."""

IMAGE_EXTENSIONS = ARRAYS | {
    ".mpo",
    *(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS),
}
"""Extensions by which a folder's images are found, in lower case; compared ignoring case."""

_SMALL_GRAY = {"L;2": 85, "L;4": 17}
"""Raw mode of gray with few bits -> what Pillow multiplies its values by."""
_TIFF = frozenset({".tif", ".tiff"})
_TIFF_STARTS = frozenset({b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"})
_PAGED_FORMATS = frozenset({"GIF", "TIFF"})
_BITS, _PLANAR = 258, 284  # TIFF tags
_said: set[str | None] = set()


@dataclass(frozen=True)
class Description:
    """What a picture file holds, for a person.

    Attributes:
        size: Width and height in pixels, upright.
        mode: Pillow's mode, or the stored type and number of bands.
        bands: Channels without alpha.
        levels: Black and white, where the file or its type states them.
        deep: Whether there are more than 8 bits.
        span: Smallest and largest stored value.
        histogram: Share of its values in 16 equal steps from black to white, or over its span where
            nobody knows what is white.
    """

    size: tuple[int, int]
    mode: str
    bands: int
    levels: Levels | None
    deep: bool
    span: Span
    histogram: tuple[float, ...]


def has_image_extension(path: Path) -> bool:
    """Tell whether `path` is named like an image; its content is not looked at."""
    return path.suffix.lower() in IMAGE_EXTENSIONS or is_medical(path)


def set_max_pixels(number: int | None) -> None:
    """Refuse pictures of more than `number` pixels; None leaves Pillow's 179 million.

    Raises:
        UserError: Not a positive number.
    """
    if number is not None:
        if number < 1:
            raise UserError(f"--max-pixels {number}: at least 1")
        Image.MAX_IMAGE_PIXELS = -(-number // 2)  # Pillow warns from here, refuses from twice this
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read_picture(path: Path, span: Span | None = None) -> Picture:
    """Read a picture file, or the page of one that `path` names (`core.data.pages`).

    Args:
        path: A file in any format and mode that Pillow or tifffile reads, or a NumPy array.
        span: The stored values that are black and white in pictures of more than 8 bits; None
            takes what the file states, or the full range of 16 bits.

    Raises:
        UserError: The file is missing, empty, damaged, no image, too large to decode safely, or
            holds numbers without an agreed range (signed, 32 bits or floating point) and there is
            no `span`.
    """
    return picture_of_stored(read_stored(path), span, str(path))


def read_stored(path: Path) -> Stored:
    """Decode a picture, upright, and leave its values as they are stored.

    Raises:
        UserError: As `read_picture`, but never for want of an agreed range.
    """
    with _refusing(path):
        if is_medical(path):
            file, number = split_page(path)
            return of_medical(file, number or 1, path)
        if path.suffix.lower() in ARRAYS:
            return of_array(path, path)
        if path.suffix.lower() in _TIFF and not _pillow_is_whole(path):
            file, number = split_page(path)
            return of_tiff(file, tiff_directory(file, number), file)
        with _open(path) as image:
            if getattr(image, "is_animated", False) and image.format not in _PAGED_FORMATS:
                _say_first_frame(path, image)
            return of_pillow(image, path)


def decode_picture(content: bytes, name: str, span: Span | None = None) -> Picture:
    """Decode the content of a picture file, such as a member of a shard; the first of its pages.

    `name` has the file's suffix and is what messages call it; for the rest see `read_picture`.
    """
    return picture_of_stored(decode_stored(content, name), span, name)


def decode_stored(content: bytes, name: str) -> Stored:
    """Decode as `decode_picture`, but leave values as they are stored."""
    path, stream = Path(name), io.BytesIO(content)
    if not content:
        raise UserError(f"{name}: empty (0 bytes); remove or replace it")
    with _refusing(path):
        if is_medical(path):
            return of_medical(stream, 1, path)
        if path.suffix.lower() in ARRAYS:
            return of_array(stream, path)
        if content[:4] in _TIFF_STARTS and not _opens_whole(content):
            return of_tiff(stream, 0, path)
        image = Image.open(stream, formats=FORMATS)
        require_pixels(*image.size, path)
        return of_pillow(image, path)


def read_image(path: Path, channels: int) -> npt.NDArray[np.uint8]:
    """Read a picture in 8 bits with so many channels (`Picture.channels`): uint8 [H, W, channels].

    Raises:
        UserError: As `read_picture` and `Picture.channels`.
    """
    return np.array(read_picture(path).in_8_bits().channels(channels), dtype=np.uint8)


def picture_of(image: Image.Image, span: Span | None = None, name: str = "image") -> Picture:
    """Turn a Pillow image of any mode into a picture; other arguments and errors as `read_picture`.

    Of 16-bit colours the lower bytes are there only if it was not loaded yet.
    """
    try:
        stored = of_pillow(image, name)
    except Exception as error:  # see _refusing
        raise UserError(f"{name}: cannot be decoded ({_reason(error)})") from error
    return picture_of_stored(stored, span, name)


def rgb_of(image: Image.Image, name: str = "image") -> npt.NDArray[np.uint8]:
    """Return a Pillow image of any mode as uint8 [H, W, 3], transparency laid over white.

    Raises:
        UserError: As `read_picture`.
    """
    return np.array(picture_of(image, name=name).in_8_bits().channels(3), dtype=np.uint8)


def describe_image(path: Path) -> Description:
    """Decode an image fully and say what it holds.

    Raises:
        UserError: As `read_stored`.
    """
    return describe(read_stored(path))


def describe(stored: Stored) -> Description:
    """Say what a decoded picture holds."""
    values, levels = stored.values, stored.levels
    deep = levels is None or levels.deep
    height, width, bands = values.shape
    mode = (
        stored.mode
        if not levels or not deep or levels.white == 2**16 - 1
        else (f"{stored.mode} of {int(levels.white).bit_length()} bits")
    )
    span = (float(values.min()), float(values.max())) if deep else (0.0, 255.0)
    ends = (levels.black, levels.white) if levels else span
    counts, _ = np.histogram(values, 16, ends if ends[0] < ends[1] else None)
    histogram = tuple((counts / max(1, counts.sum())).tolist())
    return Description((width, height), mode, bands, levels, deep, span, histogram)


def open_image(path: Path) -> Image.Image:
    """Read a picture in 8 bits, as Pillow mode "L", "RGB" or (with transparency) "RGBA".

    Raises:
        UserError: As `read_picture`, or bands that are no colours.
    """
    return read_picture(path).to_pil()


def open_label_map(path: Path, content: bytes | None = None) -> Image.Image:
    """Decode a map of class ids or class colours, upright, without touching ids.

    Palettes keep their indices, and gray of 2, 4 and 16 bits its values, which `open_image` would
    turn into colours and scale. Of `content`, if it is given, `path` is the name.

    Returns:
        Mode "L", "P", an integer mode, "RGB" or "RGBA"; `info["file"]` is the path, for errors.

    Raises:
        UserError: As `read_picture`.
    """
    stream = None if content is None else io.BytesIO(content)
    with (
        _refusing(path),
        _open(path) if stream is None else Image.open(stream, formats=FORMATS) as image,
    ):
        factor = _SMALL_GRAY.get(raw_mode(image), 1)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    if factor > 1:
        image = Image.fromarray(np.asarray(image) // np.uint8(factor))
    elif image.mode != "P" and not image.mode.startswith("I"):
        image = picture_of(image, name=str(path)).to_pil()
    image.info["file"] = str(path)
    return image


def picture_of_stored(stored: Stored, span: Span | None, name: str) -> Picture:
    """Set black and white; arguments and errors as `read_picture`."""
    levels = stored.levels
    if span is not None and (levels is None or levels.deep):
        levels = Levels(stored.values.dtype.name, *span)
    if levels is None:
        raise UserError(
            f"{name}: {stored.mode} pixels have no agreed black and white; convert the image to 8 "
            "or unsigned 16 bits, or, where a config says how data are read, set data.white to the "
            "value that is white, or to auto"
        )
    values, alpha = stored.values, stored.alpha
    if levels.deep:
        values = levels.unit(values)
        # Alpha has the full range of its type, whatever is white.
        alpha = None if alpha is None else alpha.astype(np.float32) / _full(alpha)
    return Picture(values, alpha, levels, stored.mode, name)


def _full(alpha: Numbers) -> float:
    return float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind in "iu" else 1.0


def _open(path: Path) -> Image.Image:
    """Open the file or page for Pillow; reads the header only.

    Raises:
        Exception: As `_refusing` turns into a UserError.
    """
    file, number = split_page(path)
    image = Image.open(file, formats=FORMATS)
    require_pixels(*image.size, path)
    if number is not None:
        image.seek(tiff_directory(file, number) if image.format == "TIFF" else number - 1)
    return image


def _pillow_is_whole(path: Path) -> bool:
    """Tell whether Pillow opens a TIFF file, and leaves no band and no byte out."""
    try:
        with _open(path) as image:
            return _keeps_all(image)
    except Image.UnidentifiedImageError:
        # Text and other files of this suffix: Pillow's words for them are the better ones.
        file, _ = split_page(path)
        return file.open("rb").read(4) not in _TIFF_STARTS


def _opens_whole(content: bytes) -> bool:
    """Tell of a TIFF file in memory what `_pillow_is_whole` tells of one on disk."""
    try:
        return _keeps_all(Image.open(io.BytesIO(content), formats=["TIFF"]))
    except Image.UnidentifiedImageError:
        return False


def _keeps_all(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    planar = tags.get(_PLANAR, 1) == 2 and max(tags.get(_BITS, (8,))) > 8
    return not planar and raw_mode(image) != "LX"


def _say_first_frame(path: Path, image: Image.Image) -> None:
    """Log, once for a format, that further frames are left out."""
    if image.format not in _said:
        _said.add(image.format)
        number = getattr(image, "n_frames", 1)
        log.warning("%s: %d frames; the first is taken, as in all such files", path, number)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn every failure within into a UserError of one line.

    Decoders raise almost anything on malformed bytes (OSError, SyntaxError, struct.error,
    IndexError, ...); nothing but decoders runs inside.
    """
    with suppress(OSError):
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise UserError(f"{path}: no regular file (a pipe, socket or device); remove it")
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not an image") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    """Say in one line why `path` could not be read."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            return f"{path}: the file is empty (0 bytes); remove or replace it"
    if isinstance(error, Image.DecompressionBombError):
        return f"{path}: too large to decode safely ({error}); scale the image down"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"{path}: not an image, or of a format that Pillow cannot read; remove or convert it"
    return f"{path}: damaged image ({_reason(error)}); remove or replace it"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
