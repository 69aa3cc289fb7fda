"""Reading any image a user has into uint8 arrays, and refusing clearly what cannot be read.

Deviations from the official code (junyanz/pytorch-CycleGAN-and-pix2pix, `data/image_folder.py`,
which calls `Image.open(path).convert("RGB")`): EXIF rotation is applied, transparency is laid over
white instead of exposing the colours underneath, 16-bit gray is scaled instead of clipped, and
`.webp` files are found too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from core.errors import UserError

Pixels = npt.NDArray[np.uint8]

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp"})
"""Extensions by which a folder's images are found, in lower case; compared ignoring case."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_QUARTER_TURNS = frozenset({5, 6, 7, 8})


def has_image_extension(path: Path) -> bool:
    """Tell whether `path` is named like an image; its content is not looked at."""
    return path.suffix.lower() in IMAGE_EXTENSIONS


def read_image(path: Path, channels: int) -> Pixels:
    """Read an image upright, in 8 bits, with the asked-for number of channels.

    Args:
        path: An image file in any format and mode that Pillow reads; of several frames the first.
        channels: 1 (gray, ITU-R 601 luma), 3 (RGB) or 4 (RGB and alpha; opaque where the file has
            none). With 1 or 3 channels transparent images are laid over white.

    Returns:
        uint8 [H, W, channels], contiguous, colours not premultiplied.

    Raises:
        UserError: The file is missing, empty, damaged, no image, too large to decode safely, or
            holds pixels without an agreed range (32-bit integers or floats).
    """
    return as_array(open_image(path), channels)


def open_image(path: Path) -> Image.Image:
    """Decode an image, upright, as Pillow mode "L", "RGB" or (with transparency) "RGBA".

    Raises:
        UserError: As `read_image`.
    """
    return normalised(_decode(path), path)


def open_label_map(path: Path) -> Image.Image:
    """Decode a map of class ids or class colours, upright, without touching ids.

    Palettes keep their indices and 16 bits their values, which `open_image` would turn into colours
    and scale down.

    Returns:
        Mode "L", "P", an integer mode, "RGB" or "RGBA"; `info["file"]` is the path, for errors.

    Raises:
        UserError: As `read_image`.
    """
    image = _decode(path)
    if image.mode != "P" and not image.mode.startswith("I"):
        image = normalised(image, path)
    image.info["file"] = str(path)
    return image


def normalised(image: Image.Image, name: object = "image") -> Image.Image:
    """Convert an image that is open already to mode "L", "RGB" or (with transparency) "RGBA".

    Args:
        image: Any mode; not turned by its EXIF orientation.
        name: What errors call it.

    Raises:
        UserError: 32-bit pixels, or a mode that Pillow cannot convert.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"}):
        return _from_16_bits(image)
    if image.mode in {"I", "F"}:
        kind = "integer" if image.mode == "I" else "float"
        raise UserError(
            f"{name}: 32-bit {kind} pixels have no agreed black and white; "
            "convert the image to 8 or 16 bits"
        )
    opaque = "L" if image.mode in {"1", "L"} else "RGB"
    wanted = "RGBA" if image.has_transparency_data else opaque
    if image.mode == wanted:
        return image
    try:
        return image.convert(wanted)
    except ValueError:
        raise UserError(
            f"{name}: pixels of mode {image.mode!r} are not supported; convert the image to RGB"
        ) from None


def as_array(image: Image.Image, channels: int) -> Pixels:
    """Give an image from `open_image` the asked-for channels.

    Args:
        image: Mode "L", "RGB" or "RGBA".
        channels: 1, 3 or 4; see `read_image`.

    Returns:
        uint8 [H, W, channels], contiguous and writable.
    """
    assert channels in _MODES, f"channels must be 1, 3 or 4, not {channels}"
    if image.mode == "RGBA" and channels != 4:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode != _MODES[channels]:
        image = image.convert(_MODES[channels])
    return np.array(image).reshape(image.height, image.width, channels)


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels after EXIF rotation, from the file's header where possible.

    Raises:
        UserError: The header cannot be read.
    """
    with _open(path) as image:
        try:
            if image.format == "TIFF":
                image.load()  # before it, versions of Pillow differ in which way up the size is
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        except Exception as error:  # see _decode
            raise UserError(_damaged(path, error)) from error
    width, height = image.size
    return (height, width) if orientation in _QUARTER_TURNS else (width, height)


def describe_image(path: Path) -> tuple[int, int, str]:
    """Decode an image fully; return its upright width and height and Pillow's mode as stored.

    Raises:
        UserError: As `read_image`.
    """
    image = _decode(path)
    normalised(image, path)
    return image.width, image.height, image.mode


def _open(path: Path) -> Image.Image:
    """`Image.open` with every failure as a UserError; reads the header only."""
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not an image") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read this file") from None
    except Exception as error:  # see _decode
        raise UserError(_damaged(path, error)) from error


def _decode(path: Path) -> Image.Image:
    """Decode the first frame and turn it upright; the mode stays as stored."""
    with _open(path) as image:
        try:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        # Pillow's decoders raise almost anything on malformed bytes (OSError, SyntaxError,
        # struct.error, IndexError, ...); nothing but Pillow runs inside this block.
        except Exception as error:
            raise UserError(_damaged(path, error)) from error
    return image


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Convert gray 0..65535 to 0..255 by rounding v / 257, which maps white to white."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _damaged(path: Path, error: Exception) -> str:
    """Say in one line why Pillow could not read `path`."""
    if path.stat().st_size == 0:
        return f"{path}: the file is empty (0 bytes); remove or replace it"
    if isinstance(error, Image.DecompressionBombError):
        return f"{path}: too large to decode safely ({error}); scale the image down"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"{path}: not an image, or of a format that Pillow cannot read; remove or convert it"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path}: damaged image ({reason}); remove or replace it"
