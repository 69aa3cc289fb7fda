"""Medical pictures: DICOM files, and slices of NIfTI volumes as pages (the extra `medical`).

DICOM: values are those of the modality after rescale (Hounsfield units in CT), black and white the
file's window where it has one, and MONOCHROME1 is turned round, so that more is brighter. Frames
are pages.

NIfTI: pages are slices along the stored third axis, volumes after each other; rows run from
anterior (or superior) to posterior, columns from left to right.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np

from core.data.picture import EIGHT_BITS, Levels, Numbers
from core.data.stored import Stored, of_numbers, require_pixels
from core.errors import UserError

DICOM = frozenset({".dcm", ".dicom"})
"""Suffixes of DICOM files, in lower case."""
_NIFTI = (".nii", ".nii.gz")
_BACKWARDS = frozenset("LPI")
"""Directions along which an axis is turned round, so that it runs to the right, front or top."""


def is_medical(path: Path) -> bool:
    """Tell whether a path is named like such a file."""
    return path.suffix.lower() in DICOM or path.name.lower().endswith(_NIFTI)


def num_pages(file: Path) -> int:
    """Return the number of frames or slices.

    Raises:
        Exception: Almost anything, on malformed bytes or without the packages.
    """
    if file.suffix.lower() in DICOM:
        tags = _pydicom().dcmread(file, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(tags.get("NumberOfFrames") or 1)
    return _num_slices(_nibabel().load(file).shape)


def of_medical(file: Path | io.BytesIO, page: int, path: Path) -> Stored:
    """Read a frame or slice, counted from 1; `path` says what the file is.

    Raises:
        UserError: The packages are missing.
        Exception: Almost anything, on malformed bytes.
    """
    if path.suffix.lower() in DICOM:
        return _of_dicom(file, page, path)
    return _of_nifti(file, page, path)


# -- DICOM ------------------------------------------------------------------------------------


def _of_dicom(file: Path | io.BytesIO, page: int, name: object) -> Stored:
    pydicom = _pydicom()
    from pydicom.pixels import apply_color_lut, pixel_array  # noqa: PLC0415

    tags = pydicom.dcmread(file)
    require_pixels(int(tags.Columns), int(tags.Rows), name)
    values = pixel_array(tags, index=page - 1)
    kind = str(tags.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, tags)
    if values.ndim == 3:
        bits = int(tags.get("BitsStored") or 8)
        colours = of_numbers(values, None if kind == "PALETTE COLOR" else bits, alpha=False)
        return Stored(colours.values, None, colours.levels, kind)
    return _gray(values[..., None], tags, kind)


def _gray(values: Numbers, tags: Any, kind: str) -> Stored:
    """Rescale, and say what is black and white."""
    slope, shift = float(tags.get("RescaleSlope") or 1), float(tags.get("RescaleIntercept") or 0)
    top = 2 ** int(tags.BitsStored) - 1
    signed = int(tags.get("PixelRepresentation") or 0) == 1
    ends = np.array([-(top // 2) - 1, top // 2] if signed else [0, top]) * slope + shift
    rescaled = values * slope + shift
    window = _window(tags)
    if kind == "MONOCHROME1":
        low, high = window or ends
        rescaled = low + high - rescaled
    if np.all(ends == np.rint(ends)) and np.abs(ends).max() < 2**15:
        rescaled = np.rint(rescaled).astype(np.int16)
    else:
        rescaled = rescaled.astype(np.float32)
    if window is not None:
        return Stored(rescaled, None, Levels(rescaled.dtype.name, *window), kind)
    if signed or (slope, shift) != (1, 0):
        return Stored(rescaled, None, None, kind)
    if top == EIGHT_BITS.white:
        return Stored(rescaled.astype(np.uint8), None, EIGHT_BITS, kind)
    plain = rescaled.astype(np.uint16)
    return Stored(plain, None, Levels("uint16", 0, top), kind)


def _window(tags: Any) -> tuple[float, float] | None:
    """Return black and white of the first window (DICOM PS3.3, C.11.2.1.2)."""
    if tags.get("WindowCenter") is None or tags.get("WindowWidth") is None:
        return None
    centre, width = (
        float(np.atleast_1d(tags[name].value)[0]) for name in ("WindowCenter", "WindowWidth")
    )
    if str(tags.get("VOILUTFunction") or "LINEAR") == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return (centre - width / 2, centre + width / 2) if width > 0 else None


# -- NIfTI ------------------------------------------------------------------------------------


def _num_slices(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[2:]))


def _of_nifti(file: Path | io.BytesIO, page: int, path: Path) -> Stored:
    nibabel = _nibabel()
    if isinstance(file, Path):
        image = nibabel.load(file)
    else:
        content = file.read()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        image = nibabel.Nifti1Image.from_bytes(content)
    shape = image.shape
    require_pixels(shape[0], shape[1], path)
    if not 0 < page <= _num_slices(shape):
        raise FileNotFoundError(page)
    where = np.unravel_index(page - 1, shape[2:], order="F") if len(shape) > 2 else ()
    values = np.asanyarray(image.dataobj[(slice(None), slice(None), *map(int, where))])
    if values.dtype.names:  # colours
        values = np.stack([values[name] for name in values.dtype.names], axis=-1)
    for axis, code in enumerate(nibabel.aff2axcodes(image.affine)[:2]):
        values = np.flip(values, axis) if code in _BACKWARDS else values
    values = np.ascontiguousarray(np.flip(values.swapaxes(0, 1), 0))
    numbers = of_numbers(values.reshape(*values.shape[:2], -1), alpha=False)
    eight = numbers.levels == EIGHT_BITS
    return Stored(numbers.values, None, EIGHT_BITS if eight else None, numbers.mode)


# -- packages ---------------------------------------------------------------------------------


def _pydicom() -> Any:
    try:
        import pydicom  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UserError(_WANTED.format("DICOM", "pydicom")) from None
    return pydicom


def _nibabel() -> Any:
    try:
        import nibabel  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UserError(_WANTED.format("NIfTI", "nibabel")) from None
    return nibabel


_WANTED = "{} files need the package {}; pip install 'image-translation[medical]'"
