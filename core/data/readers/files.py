"""A data set's image files as numbered items, decoded and resized on demand."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from core.data.folders import TwoDomains
from core.data.images import decode_stored, read_picture, read_stored
from core.data.label_maps import Ids, read_ids
from core.data.names import printable, same, stem
from core.data.pages import split_page
from core.data.picture import Pixels
from core.data.readers.storage import fetch
from core.data.stored import Stored
from core.data.transforms import for_network
from core.options import DataOptions, Span


@dataclass(frozen=True)
class Source:
    """Images read from their files each time.

    Attributes:
        label: Name of the part of the data set, e.g. "trainA"; caches are named after it.
        root: The data set's folder.
        files: Per item its files: one, or two for a pair in two files.
        channels: Per image of an item its channels; one entry, or two for pairs.
        side_by_side: An item is one file with two images, split at floor(width / 2).
        options: Rule of the resize.
        spans: Per image of an item, the stored values that are black and white where there are more
            than 8 bits; None takes what the files state.
    """

    label: str
    root: Path
    files: tuple[tuple[Path, ...], ...]
    channels: tuple[int, ...]
    side_by_side: bool
    options: DataOptions
    spans: tuple[Span | None, ...] = (None, None)

    @classmethod
    def of(cls, found: TwoDomains, channels: tuple[int, ...], options: DataOptions) -> list[Source]:
        """Return the one source of pairs, two images an item, or one for each domain."""
        spans, sides = options.spans, (found.a, found.b)
        if found.paired:
            files = tuple(zip(*sides[: 1 if found.side_by_side else 2], strict=True))
            halves = found.side_by_side
            return [cls(found.split, found.root, files, channels, halves, options, spans)]
        return [
            cls(
                found.split + domain,
                found.root,
                tuple(zip(paths)),
                (count,),
                False,
                options,
                (span,),
            )
            for domain, paths, count, span in zip("AB", sides, channels, spans, strict=True)
        ]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.files)

    def name(self, item: int, image: int) -> str:
        """File of an item's image, relative to the data set's folder where it lies inside."""
        path = self.files[item][0 if self.side_by_side else image]
        return relative_name(path, self.root)

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Decode, convert to the channels and resize; see `Images.read`."""
        files = zip(self.files[item], self.spans, strict=False)
        pictures = [read_picture(path, span) for path, span in files]
        if self.side_by_side:
            pictures = [*pictures[0].halves()]
        return tuple(
            for_network(picture, channels, self.options)
            for picture, channels in zip(pictures, self.channels, strict=True)
        )

    def rule(self) -> dict[str, Any]:
        """Return what pixels depend on besides the files; see `InFiles.rule`."""
        options = self.options.model_dump(include={"preprocess", "load_size", "crop_size"})
        shape = {"channels": self.channels, "side_by_side": self.side_by_side}
        return {"pillow": PIL.__version__, "spans": self.spans, **shape, **options}

    def stamps(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of change of every file; see `InFiles.stamps`."""
        paths = itertools.chain.from_iterable(self.files)
        return [(relative_name(path, self.root), *_stamp(split_page(path)[0])) for path in paths]


@dataclass(frozen=True)
class FilePictures:
    """Files of this machine, a picture each; see `core.data.readers.interface.Pictures`.

    Attributes:
        files: The files, or pages of them.
        root: Folder that names are relative to.
        base: Folder that keys are relative to; None: they are the files' own names.
    """

    files: tuple[Path, ...]
    root: Path
    base: Path | None

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def key(self, item: int) -> str:
        """See `Pictures.key`."""
        path = self.files[item]
        return same(stem(path.relative_to(self.base).as_posix() if self.base else path.name))

    def name(self, item: int) -> str:
        """See `Pictures.name`."""
        return relative_name(self.files[item], self.root)

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`."""
        return read_stored(self.files[item])

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return read_ids(self.files[item])

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `Pictures.stamps`."""
        return [
            (relative_name(path, self.root), *_stamp(split_page(path)[0])) for path in self.files
        ]


@dataclass(frozen=True)
class RemotePictures:
    """Files that fsspec reads, a picture each; see `core.data.readers.interface.Pictures`.

    Attributes:
        folder: Its address.
        names: Of the files, relative to it.
        marks: Their stamps (`core.data.readers.storage`).
    """

    folder: str
    names: tuple[str, ...]
    marks: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)

    def key(self, item: int) -> str:
        """See `Pictures.key`."""
        return same(stem(self.names[item]))

    def name(self, item: int) -> str:
        """See `Pictures.name`."""
        return self.names[item]

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`."""
        return decode_stored(self._content(item), self.names[item])

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return read_ids(Path(self.names[item]), self._content(item))

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `Pictures.stamps`."""
        return [
            (f"{self.folder}/{name}", *mark)
            for name, mark in zip(self.names, self.marks, strict=True)
        ]

    def _content(self, item: int) -> bytes:
        return fetch(f"{self.folder}/{self.names[item]}")


def relative_name(path: Path, root: Path) -> str:
    """Return `path` relative to `root` where it lies inside, with forward slashes."""
    inside = path.is_relative_to(root)
    return printable((path.relative_to(root) if inside else path).as_posix())


def _stamp(file: Path) -> tuple[int, int]:
    """Return size and time of change; -1 where the file is missing."""
    with contextlib.suppress(OSError):
        status = file.stat()
        return status.st_size, status.st_mtime_ns
    return -1, -1
