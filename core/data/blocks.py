"""Decoded images of numbered items in one file that grows as they are first met.

The file begins with a table of one record for each item: where its block lies, how long it is, and
a checksum. Blocks are appended in the order in which items are first read, by whichever process. A
record is written after its block, and a block is believed only if its checksum fits, so that a
crash, a full disk or a damaged file costs a second reading and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import mmap
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from core.data.picture import Pixels

log = logging.getLogger(__name__)

_MAGIC = b"image blocks 2\n\0"
_HEAD = struct.Struct("<16sQ")
"""What the file begins with: the format, and the number of items."""
_RECORD = struct.Struct("<QQII")
"""A block's place and length in bytes, its checksum, and that of these three numbers."""
_SHAPE = struct.Struct("<IIII")
"""Bytes of a value, channels, height and width of an image."""
_ALIGNED = 64
"""Bytes; blocks begin at multiples, so that floats lie well."""
_TYPES: dict[int, Any] = {1: np.uint8, 4: np.float32}


@dataclass(eq=False)
class Blocks:
    """The images of numbered items, as far as they are kept.

    Attributes:
        num_items: How many there are.
        path: The file; None for one without a name, in memory where the system offers that, which
            forked processes share.
    """

    num_items: int
    path: Path | None
    _file: Any = field(repr=False)  # unbuffered: after a failed write nothing is left to flush
    _takes_more: bool = True
    _mapped: Pixels = field(default_factory=lambda: np.empty(0, np.uint8), repr=False)
    _intact: dict[int, slice] = field(default_factory=dict, repr=False)
    _damaged: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def in_memory(cls, num_items: int) -> Blocks:
        """Make an empty file in memory."""
        file: Any
        if sys.platform == "linux":
            file = os.fdopen(os.memfd_create("images"), "w+b", buffering=0)
        else:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (it stays open)
        _begin(file, num_items)
        return cls(num_items, None, file)

    @classmethod
    def on_disk(cls, path: Path, num_items: int) -> Blocks:
        """Open a file; make an empty one where there is none, or something else.

        Raises:
            OSError: It cannot be made.
        """
        if not _is_for(path, num_items):
            with FileLock(path.with_suffix(".lock")):
                if not _is_for(path, num_items):  # another process may have made it meanwhile
                    _make(path, num_items)
        try:
            return cls(num_items, path, path.open("r+b", buffering=0))
        except PermissionError:
            return cls(num_items, path, path.open("rb", buffering=0), _takes_more=False)

    def get(self, item: int) -> tuple[Pixels, ...] | None:
        """Return an item's images, views that are not to be written to; None if they aren't here.

        A damaged block is not given out; that there is one is said once.
        """
        known = self._intact.get(item)
        if known is None:
            place = self._place(item)
            if place is None:
                return None
            start, length, checksum = place
            known = slice(start, start + length)
            if known.stop > len(self._mapped):
                self._map()
            block = self._mapped[known]
            if len(block) < length or zlib.crc32(block.data) != checksum:
                if not self._damaged:
                    log.warning("%s: damaged; such images are read and kept anew", self.path)
                self._damaged.add(item)
                return None
            self._intact[item] = known
        return _images(self._mapped[known])

    def keep(self, item: int, images: tuple[Pixels, ...]) -> None:
        """Append an item's images, unless another process has; that the disk is full is said."""
        if not self._takes_more:
            return
        block = _block(images)
        try:
            with self._alone():
                if item in self._damaged or self._place(item) is None:
                    self._append(item, block)
                    self._damaged.discard(item)
        except OSError as error:
            self._takes_more = False
            log.warning(
                "%s: takes no more images (%s); the others are read each time anew",
                self.path or "data.cache: ram",
                error.strerror or error,
            )

    def _append(self, item: int, block: list[memoryview]) -> None:
        checksum = 0
        for part in block:
            checksum = zlib.crc32(part, checksum)
        end = self._file.seek(0, os.SEEK_END)
        start = -(-end // _ALIGNED) * _ALIGNED
        self._file.seek(start)
        for part in block:
            _write(self._file, part)
        place = (start, sum(part.nbytes for part in block), checksum)
        self._file.seek(_HEAD.size + item * _RECORD.size)
        _write(self._file, memoryview(_RECORD.pack(*place, _check(place))))

    def _place(self, item: int) -> tuple[int, int, int] | None:
        """Return where an item's block is said to lie, its length and its checksum."""
        if not len(self._mapped):
            self._map()
        record = _RECORD.unpack_from(self._mapped.data, _HEAD.size + item * _RECORD.size)
        place = record[:3]
        return place if record[1] and record[3] == _check(place) else None

    def _map(self) -> None:
        """Map the file as long as it is now; views of earlier mappings stay valid."""
        mapping = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mapped = np.frombuffer(mapping, np.uint8)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing; the lock vanishes with its holder."""
        if self.path is not None:
            with FileLock(self.path.with_suffix(".lock")):
                yield
        elif sys.platform == "linux":
            import fcntl  # noqa: PLC0415  (not on every system)

            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        else:
            yield  # workers are not forked there: each has a file of its own

    def __reduce__(self) -> tuple[Any, ...]:
        # Where workers are not forked they open the file, or begin one of their own.
        if self.path is not None:
            return Blocks.on_disk, (self.path, self.num_items)
        return Blocks.in_memory, (self.num_items,)


def _make(path: Path, num_items: int) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("w+b", buffering=0) as file:
            _begin(file, num_items)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _begin(file: io.FileIO, num_items: int) -> None:
    """Write an empty table."""
    _write(file, memoryview(_HEAD.pack(_MAGIC, num_items)))
    _write(file, memoryview(bytes(num_items * _RECORD.size)))


def _is_for(path: Path, num_items: int) -> bool:
    """Tell whether a file is one of ours for so many items."""
    try:
        with path.open("rb") as file:
            whole = path.stat().st_size >= _HEAD.size + num_items * _RECORD.size
            return whole and file.read(_HEAD.size) == _HEAD.pack(_MAGIC, num_items)
    except FileNotFoundError:
        return False


def _write(file: Any, data: memoryview) -> None:
    """Write all of it; unbuffered files may take a part at a time."""
    left = data.cast("B")
    while left:
        left = left[file.write(left) :]


def _check(place: tuple[int, ...]) -> int:
    return zlib.crc32(struct.pack("<QQI", *place))


def _block(images: tuple[Pixels, ...]) -> list[memoryview]:
    """Lay out images: their number, types and shapes, and then their values."""
    header = struct.pack("<I", len(images))
    for image in images:
        header += _SHAPE.pack(image.dtype.itemsize, *image.shape)
    header += bytes(-len(header) % _ALIGNED)
    return [memoryview(header), *(np.ascontiguousarray(image).data for image in images)]


def _images(block: Pixels) -> tuple[Pixels, ...]:
    """Return views of the images that `_block` has laid out."""
    data = block.data
    (number,) = struct.unpack_from("<I", data)
    shapes = [_SHAPE.unpack_from(data, 4 + i * _SHAPE.size) for i in range(number)]
    header = 4 + number * _SHAPE.size
    start, images = header + -header % _ALIGNED, []
    for itemsize, *shape in shapes:
        end = start + itemsize * math.prod(shape)
        images.append(block[start:end].view(_TYPES[itemsize]).reshape(shape))
        start = end
    return tuple(images)
