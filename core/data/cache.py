"""Decoded, resized uint8 images, kept in memory or in a memory-mapped file.

Both kinds are one flat array of bytes with a table of shapes and offsets. Images lie in it as
[C, H, W], so that a crop of a training batch is a copy of rows.

- ram: filled at the start of each run; loader workers share it with the training process (on Linux,
  where they are forked). Each training process holds its own.
- disk: `<cache_dir>/<part>-<rule>-<files>.bin` with its table in `.json`. The two hashes are of the
  resize rule and of the files' names, sizes and times, so a changed file or option makes a new
  cache; the old one of the same part and rule is removed. Several processes may start at once: one
  builds, the others wait for its lock and map the result. Each item has a checksum, compared when a
  process first reads it: a damaged one comes from its own file, and the next start builds the cache
  anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import math
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
from filelock import AcquireReturnProxy, FileLock, Timeout

from core.data.listing import expanded
from core.data.pages import split_page
from core.data.parallel import in_threads
from core.data.picture import Pixels
from core.data.readers.files import Source, relative_name
from core.data.readers.interface import Shape
from core.errors import UserError

log = logging.getLogger(__name__)

_FORMAT = 1  # counts up when the files' layout changes
Write = Callable[[int, Pixels], None]


@dataclass(frozen=True)
class Table:
    """Where each image lies.

    Attributes:
        shapes: Per item its images' (C, H, W); empty for an item that cannot be read.
        offsets: Per item its first byte.
        num_bytes: Length of the whole array.
        checksums: Per item the CRC-32 of its bytes; filled in as they are written.
        errors: Item -> why it cannot be read.
    """

    shapes: tuple[tuple[Shape, ...], ...]
    offsets: tuple[int, ...]
    num_bytes: int
    checksums: list[int]
    errors: dict[int, str]

    def span(self, item: int) -> slice:
        """Return the bytes of an item."""
        start = self.offsets[item]
        return slice(start, start + sum(map(math.prod, self.shapes[item])))


@dataclass(eq=False)
class CachedImages:
    """Images read from a cache; the `Images` that a dataset takes in place of a `Source`.

    Attributes:
        source: Where the images came from; gives the names.
        pixels: uint8 [table.num_bytes].
        path: File that `pixels` is mapped from, None for memory.
    """

    source: Source
    table: Table
    pixels: Pixels
    path: Path | None
    _intact: set[int] = field(default_factory=set, repr=False)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.source)

    def name(self, item: int, image: int) -> str:
        """See `Images.name`."""
        return self.source.name(item, image)

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Return views into the cache; see `Images.read`."""
        if item in self.table.errors:
            raise UserError(self.table.errors[item])
        if self.path is not None and item not in self._intact:
            if zlib.crc32(self.pixels[self.table.span(item)].data) != self.table.checksums[item]:
                return self._read_anew(self.path, item)
            self._intact.add(item)
        images = []
        start = self.table.offsets[item]
        for channels, height, width in self.table.shapes[item]:
            end = start + channels * height * width
            images.append(self.pixels[start:end].reshape(channels, height, width))
            start = end
        return tuple(images)

    def _read_anew(self, path: Path, item: int) -> tuple[Pixels, ...]:
        """Read a damaged item from its file, and see to it that the next start builds anew."""
        index = path.with_suffix(".json")
        if index.exists():
            log.warning(
                "%s: damaged; such images are read from their files, and the next start "
                "builds the image cache anew",
                path,
            )
            index.unlink(missing_ok=True)
        return self.source.read(item)

    def __getstate__(self) -> dict[str, Any]:
        # Where workers are not forked, they map the file anew instead of receiving its bytes.
        return {**self.__dict__, "pixels": None} if self.path else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path:
            self.pixels = _map(self.path)


def cached(
    source: Source, kind: Literal["ram", "disk"], folder: Path | None = None
) -> CachedImages:
    """Read all images of `source` once and keep them.

    Disk caches lie in `folder`, by default `<data root>/.image_cache`.

    Raises:
        UserError: An image cannot be read and `source.options.on_error` is "refuse"; the images do
            not fit into memory or onto the disk; the folder cannot be written.
    """
    if kind == "ram":
        return _in_memory(source)
    folder = expanded(folder or source.root / ".image_cache")
    try:
        return _on_disk(source, folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the image cache cannot be written ({error.strerror or error}); "
            "free space, set data.cache_dir to another folder, or set data.cache to ram or none"
        ) from error


def _in_memory(source: Source) -> CachedImages:
    table = _layout(source)
    installed = _installed_memory()
    if installed is not None and table.num_bytes > installed:
        raise UserError(
            f"data.cache = ram: {source.label} takes {_gib(table.num_bytes)}, but the machine has "
            f"{_gib(installed)}; use data.cache: disk"
        )
    try:
        pixels = np.empty(table.num_bytes, dtype=np.uint8)
    except MemoryError:
        raise UserError(
            f"data.cache = ram: no memory for the {_gib(table.num_bytes)} of {source.label}; "
            "use data.cache: disk"
        ) from None

    def write(offset: int, image: Pixels) -> None:
        pixels[offset : offset + image.size].reshape(image.shape)[...] = image

    _fill(source, table, write)
    return CachedImages(source, table, pixels, None)


def _on_disk(source: Source, folder: Path) -> CachedImages:
    folder.mkdir(parents=True, exist_ok=True)
    # A folder inside the data set may move with it; one that serves several must tell them apart.
    home = None if folder.is_relative_to(source.root) else str(source.root.resolve())
    slot = f"{source.label}-{_hash([home, _rule(source)])}"
    path = folder / f"{slot}-{_hash(_stamps(source))}.bin"
    table = _read_table(path, len(source))
    if table is None:
        with _locked(folder / f"{slot}.lock"):
            table = _read_table(
                path, len(source)
            )  # another process may have built it while this one waited
            if table is None:
                table = _build(source, path)
                _remove_older(folder, slot, keep=path)
    _refuse_errors(source, table)
    return CachedImages(source, table, _map(path), path)


def _build(source: Source, path: Path) -> Table:
    """Write the pixels and then the table, each under a temporary name until complete."""
    table = _layout(source)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    lock = threading.Lock()
    try:
        with temporary.open("wb") as file:

            def write(offset: int, image: Pixels) -> None:
                # Not through a mapping: a full disk would kill the process instead of raising.
                data = np.ascontiguousarray(image)
                with lock:
                    file.seek(offset)
                    file.write(data.data)

            _fill(source, table, write)
            file.truncate(table.num_bytes)  # the last item may have been unreadable
        temporary.replace(path)
        temporary.write_text(json.dumps(asdict(table)))
        temporary.replace(path.with_suffix(".json"))
    finally:
        temporary.unlink(missing_ok=True)
    return table


def _layout(source: Source) -> Table:
    """Lay out shapes and offsets of all images, from their headers."""
    shapes: list[tuple[Shape, ...]] = []
    offsets: list[int] = []
    errors: dict[int, str] = {}
    end = 0
    label = f"measuring {source.label}"
    with contextlib.closing(in_threads(source.shapes, len(source), label)) as outcomes:
        for item, found in enumerate(outcomes):
            if isinstance(found, UserError):
                errors[item] = str(found)
            shapes.append(() if isinstance(found, UserError) else found)
            offsets.append(end)
            end += sum(channels * height * width for channels, height, width in shapes[-1])
    table = Table(tuple(shapes), tuple(offsets), end, [0] * len(shapes), errors)
    _refuse_errors(source, table)
    return table


def _fill(source: Source, table: Table, write: Write) -> None:
    """Decode every image and `write` it."""

    def one(item: int) -> None:
        if item in table.errors:
            return
        offset, checksum = table.offsets[item], 0
        for number, image in enumerate(source.read(item)):
            if image.dtype != np.uint8:
                raise UserError(
                    f"{source.name(item, number)}: has more than 8 bits, which caches do not hold; "
                    "set data.cache to none"
                )
            write(offset, image)
            offset += image.size
            checksum = zlib.crc32(np.ascontiguousarray(image).data, checksum)
        table.checksums[item] = checksum

    label = f"caching {source.label}"
    with contextlib.closing(in_threads(one, len(source), label)) as outcomes:
        for item, error in enumerate(outcomes):
            if error is not None:
                table.errors[item] = str(error)
                _refuse_errors(source, table)


def _refuse_errors(source: Source, table: Table) -> None:
    if not table.errors:
        return
    first = table.errors[min(table.errors)]
    if source.options.on_error == "refuse":
        raise UserError(first)
    if len(table.errors) == len(source):
        raise UserError(f"{source.root}: none of the images of {source.label} can be read; {first}")


def _rule(source: Source) -> dict[str, Any]:
    """Return what the cached pixels depend on besides the files."""
    options = source.options.model_dump(include={"preprocess", "load_size", "crop_size"})
    shape = {"channels": source.channels, "side_by_side": source.side_by_side}
    return {"format": _FORMAT, "pillow": PIL.__version__, **shape, **options}


def _stamps(source: Source) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of every file; -1 for those of a missing one."""
    stamps = []
    for path in itertools.chain.from_iterable(source.files):
        size = time = -1
        with contextlib.suppress(OSError):
            status = split_page(path)[0].stat()
            size, time = status.st_size, status.st_mtime_ns
        stamps.append((relative_name(path, source.root), size, time))
    return stamps


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _read_table(path: Path, num_items: int) -> Table | None:
    """Return the table of a complete cache, None where there is none or it is damaged."""
    index = path.with_suffix(".json")
    if not (path.is_file() and index.is_file()):
        return None
    try:
        stored = json.loads(index.read_text())
        shapes = tuple(tuple((c, h, w) for c, h, w in item) for item in stored["shapes"])
        errors = {int(item): str(error) for item, error in stored["errors"].items()}
        offsets, checksums = tuple(stored["offsets"]), list(stored["checksums"])
        table = Table(shapes, offsets, int(stored["num_bytes"]), checksums, errors)
        sizes = [sum(math.prod(shape) for shape in item) for item in shapes]
        ends = tuple(itertools.accumulate(sizes, initial=0))
        if (offsets, table.num_bytes) != (ends[:-1], ends[-1]) or len(checksums) != num_items:
            raise ValueError("offsets and shapes disagree")
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        log.warning("%s: damaged (%s); the image cache is built anew", index, error)
        return None
    if path.stat().st_size != table.num_bytes:
        log.warning("%s: not of the length in its table; the image cache is built anew", path)
        return None
    return table


def _remove_older(folder: Path, slot: str, keep: Path) -> None:
    for old in folder.glob(f"{slot}-*"):
        if old.stem != keep.stem and old.suffix in {".bin", ".json", ".tmp"}:
            old.unlink(missing_ok=True)


def _map(path: Path) -> Pixels:
    # The plain array view spares memmap's bookkeeping at each slice.
    return np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)


def _locked(path: Path) -> AcquireReturnProxy:
    """Take a lock between processes, for a `with`; it vanishes with its holder."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process builds this cache; waiting", path)
        return lock.acquire()


def _installed_memory() -> int | None:
    """Return the bytes of memory of the machine, None where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
