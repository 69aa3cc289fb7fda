"""Pages of one file as pictures of their own: page 3 of `scan.tif` is called `scan_p0003.tif`.

Such a name stands wherever a path does: in lists, pairs, messages and names of results. Pages are
those of TIFF files, without the reduced copies and masks that some hold beside a picture, the
frames of GIF and DICOM files, and the slices of NIfTI volumes. A file of one page keeps its own
name.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from PIL import Image

from core.data.medical import is_medical, num_pages
from core.data.names import ending, stem

_PAGED = frozenset({".tif", ".tiff", ".gif"})
"""Suffixes of files that may hold several pictures, in lower case, besides medical ones."""

_PAGE = re.compile(r"(.+)_p(\d{4,})")
_COPY_OR_MASK = 1 | 4  # bits of the tag NewSubfileType


def split_page(path: Path) -> tuple[Path, int | None]:
    """Return the file that a path means, and the number of its page from 1, if one is named."""
    if may_have_pages(path) and (match := _PAGE.fullmatch(stem(path.name))):
        file = path.with_name(match[1] + ending(path))
        if file.exists() and not path.exists():
            return file, int(match[2])
    return path, None


def is_there(path: Path) -> bool:
    """Tell whether a path is a file, or a page of one."""
    file, number = split_page(path)
    return file.is_file() and (number is None or path in pages(file))


def pages(file: Path) -> tuple[Path, ...]:
    """Return a path for each page of a file; the file itself where there is one, or no reading."""
    if not may_have_pages(file) or not file.is_file():  # a pipe would never answer
        return (file,)
    if is_medical(file):
        numbers = _medical_pages(file)
    else:
        numbers = _gif_frames(file) if file.suffix.lower() == ".gif" else _tiff_pages(file)
    if len(numbers) < 2:
        return (file,)
    return tuple(file.with_name(f"{stem(file.name)}_p{n:04d}{ending(file)}") for n in numbers)


def may_have_pages(path: Path) -> bool:
    """Tell whether files named like this one may hold several pictures."""
    return path.suffix.lower() in _PAGED or is_medical(path)


def tiff_directory(file: Path, number: int | None) -> int:
    """Return the place, from 0, of a TIFF file's page among its directories.

    Raises:
        FileNotFoundError: There is no such page.
    """
    if number is None:
        return 0
    import tifffile  # noqa: PLC0415  (few need it)

    with tifffile.TiffFile(file) as tiff:
        own = [i for i, page in enumerate(tiff.pages) if _is_picture(page)]
    if not 0 < number <= len(own):
        raise FileNotFoundError(number)
    return own[number - 1]


def _gif_frames(file: Path) -> range:
    try:
        with Image.open(file, formats=["GIF"]) as image:
            return range(1, getattr(image, "n_frames", 1) + 1)
    except Exception:  # Pillow raises almost anything; whoever reads the file says what is wrong
        return range(0)


def _medical_pages(file: Path) -> range:
    try:
        return range(1, 1 + num_pages(file))
    except Exception:  # as above
        return range(0)


def _tiff_pages(file: Path) -> range:
    try:
        if _is_single(file):
            return range(1)
        import tifffile  # noqa: PLC0415  (few need it)

        with tifffile.TiffFile(file) as tiff:
            return range(1, 1 + sum(map(_is_picture, tiff.pages)))
    except Exception:  # as above
        return range(0)


def _is_picture(page: object) -> bool:
    return not int(getattr(page, "subfiletype", 0)) & _COPY_OR_MASK


def _is_single(file: Path) -> bool:
    """Tell whether a classic TIFF file ends with its first directory: two short reads."""
    with file.open("rb") as stream:
        start = stream.read(8)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(start[:4])
        if order is None:
            return False
        stream.seek(struct.unpack(f"{order}I", start[4:])[0])
        (entries,) = struct.unpack(f"{order}H", stream.read(2))
        stream.seek(12 * entries, 1)
        return stream.read(4) == b"\0\0\0\0"
