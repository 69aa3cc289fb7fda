"""MNIST's idx files as images: big-endian, magic 0x803, count, rows, columns, then the pixels."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.label_maps import Ids
from core.data.picture import EIGHT_BITS, Pixels
from core.data.readers.files import Source
from core.data.readers.storage import stamp
from core.data.stored import Stored
from core.data.transforms import resize
from core.errors import UserError

_MAGIC = 0x00000803  # unsigned bytes, three dimensions
_HEADER_BYTES = 16
_PREFIXES = {"train": "train", "val": "t10k", "test": "t10k"}


def idx_splits(root: Path) -> dict[str, Path]:
    """Return {split: idx3 file} of those that lie in `root`; "test" stands for MNIST's `t10k`."""
    found: dict[str, Path] = {}
    for split in ("train", "test"):
        for name in (f"{_PREFIXES[split]}-images{dot}idx3-ubyte" for dot in "-."):
            for path in (root / name, root / f"{name}.gz"):
                if path.is_file():
                    found.setdefault(split, path)
    return found


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read the pictures of an idx3 file, [N, H, W], uint8, ink white on black.

    Raises:
        UserError: The file is missing, damaged, or holds something else.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else Path.open)(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
            header = struct.unpack(">4I", start.ljust(_HEADER_BYTES, b"\0"))
            expected = header[1] * header[2] * header[3]
            # One byte more than the header promises, and no more: gzip can pack gigabytes of zeros.
            data = file.read(expected + 1) if header[0] == _MAGIC else b""
    # gzip.BadGzipFile is an OSError; a header that promises too much overflows
    except (OSError, EOFError, OverflowError, MemoryError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None
    if header[0] != _MAGIC:
        raise UserError(
            f"{path}: not an idx file of images (magic {_MAGIC}); MNIST's are named "
            "train-images-idx3-ubyte and t10k-images-idx3-ubyte"
        )
    _, count, height, width = header
    if len(data) != expected or 0 in (count, height, width):
        found = f"{_HEADER_BYTES + len(data)}" if len(data) <= expected else "more"
        raise UserError(
            f"{path}: {found} bytes, but {count} images of {width} x {height} pixels take "
            f"{_HEADER_BYTES + expected}; fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(count, height, width)


@dataclass(frozen=True)
class IdxSource(Source):
    """Pictures of one idx file, `pixels` [N, H, W], held in memory as they are (MNIST: 47 MB)."""

    pixels: Pixels = field(kw_only=True)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pixels)

    def name(self, item: int, image: int) -> str:
        """Return file and number of the picture."""
        return f"{self.files[0][0].name}#{item}"

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Resize; gray is repeated where more channels are asked for."""
        gray = np.repeat(self.pixels[item][..., None], self.channels[0], axis=2)
        return (resize(gray, self.options).transpose(2, 0, 1),)


@dataclass(frozen=True)
class IdxPictures:
    """Pictures of one idx file, held in memory; see `core.data.readers.interface.Pictures`."""

    file: Path
    pixels: Pixels

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pixels)

    def key(self, item: int) -> str:
        """Return the number."""
        return str(item)

    def name(self, item: int) -> str:
        """Return file and number."""
        return f"{self.file.name}#{item}"

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`."""
        return Stored(self.pixels[item][..., None], None, EIGHT_BITS, "L")

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return self.pixels[item].astype(np.int64)

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `Pictures.stamps`."""
        return [(str(self.file), *stamp(str(self.file)))]
