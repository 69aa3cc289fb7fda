"""Decoded, resized images that are kept when they are first read, in memory or in a file.

Nothing is read ahead: a training starts at once, and its first epoch fills the cache
(`core.data.blocks`). Images are kept as networks see them but for crop and flip, [C, H, W] in 8
bits or in floats.

- ram: loader workers share it with the training process (on Linux, where they are forked). Each
  training process holds its own, and it ends with the run.
- disk: `<cache_dir>/<part>-<rule>-<files>.bin`. The two hashes are of the resize rule and of the
  files' names, sizes and times, so a changed file or option makes a new cache; the old one of the
  same part and rule is removed. Runs and processes share it, also while it fills.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.data.blocks import Blocks
from core.data.listing import expanded
from core.data.picture import Pixels
from core.data.readers.interface import Images, InFiles
from core.errors import UserError

_FORMAT = 2  # counts up when the file's layout changes


@dataclass(frozen=True)
class CachedImages:
    """Images that are kept when they are first read.

    Attributes:
        images: Where they come from.
        blocks: What is kept.
    """

    images: Images
    blocks: Blocks

    def __len__(self) -> int:
        """Number of items."""
        return len(self.images)

    def name(self, item: int, image: int) -> str:
        """See `Images.name`."""
        return self.images.name(item, image)

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Return an item's images, which are not to be written to; see `Images.read`."""
        kept = self.blocks.get(item)
        if kept is None:
            kept = self.images.read(item)
            self.blocks.keep(item, kept)
        return kept


def cached(
    images: Images, kind: Literal["ram", "disk"], folder: Path | None = None
) -> CachedImages:
    """Keep images once they are read.

    Args:
        images: Of any storage for "ram"; for "disk" of one that knows when it changes (`InFiles`).
        kind: Where.
        folder: Of disk caches; by default `<data root>/.image_cache`.

    Raises:
        UserError: They would not fit into memory, or cannot be kept on disk.
    """
    if kind == "ram":
        kept = CachedImages(images, Blocks.in_memory(len(images)))
        _require_memory(kept)
        return kept
    if not isinstance(images, InFiles):
        raise UserError(
            f"data.cache: disk, but {images.name(0, 0)} and the others lie where changes cannot be "
            "told; set it to ram or none"
        )
    folder = expanded(folder or images.root / ".image_cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder inside the data set may move with it; one that serves several must tell them
        # apart.
        home = None if folder.is_relative_to(images.root) else str(images.root.resolve())
        slot = f"{images.label}-{_hash([home, _FORMAT, images.rule()])}"
        path = folder / f"{slot}-{_hash(images.stamps())}.bin"
        blocks = Blocks.on_disk(path, len(images))
    except OSError as error:
        raise UserError(
            f"{folder}: the image cache cannot be written ({error.strerror or error}); "
            "free space, set data.cache_dir to another folder, or set data.cache to ram or none"
        ) from error
    _remove_older(folder, slot, keep=path)
    return CachedImages(images, blocks)


def _require_memory(kept: CachedImages) -> None:
    """Refuse what would exceed the memory of the machine, judged by the first image."""
    installed = _installed_memory()
    try:
        first = sum(image.nbytes for image in kept.read(0))
    except UserError:
        return  # said when it is met in training
    if installed is not None and first * len(kept) > installed:
        raise UserError(
            f"data.cache = ram: {len(kept)} images like {kept.name(0, 0)} take "
            f"{_gib(first * len(kept))}, but the machine has {_gib(installed)}; use data.cache: "
            "disk"
        )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _remove_older(folder: Path, slot: str, keep: Path) -> None:
    for old in folder.glob(f"{slot}-*"):
        if old.stem != keep.stem and old.suffix in {".bin", ".lock", ".tmp"}:
            with contextlib.suppress(OSError):  # another process may have removed it
                old.unlink(missing_ok=True)


def _installed_memory() -> int | None:
    """Return the bytes of memory of the machine, None where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
