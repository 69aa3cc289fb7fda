"""What a job takes its pictures from, walked and never collected: folders, lists, shards, storage.

Rows of tables are in `core.jobs.bulk.tables`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from core.data.images import ARRAYS, decode_picture, has_image_extension, read_picture
from core.data.listing import nearest, walk_images
from core.data.names import inside, printable
from core.data.pages import pages
from core.data.picture import Picture
from core.data.readers.shards import expand_text, walk
from core.data.readers.storage import below, fetch, stamp
from core.errors import UserError
from core.jobs.bulk.tables import is_table_address, open_table
from core.options import Span


class Item(Protocol):
    """A picture that is to be read; it pickles small."""

    @property
    def name(self) -> str:
        """Its name, with suffix and folders, that no other picture of the job has."""

    @property
    def part(self) -> str:
        """The part of the source that it is in."""

    def read(self, span: Span | None) -> Picture:
        """Decode it; see `core.data.images.read_picture`."""


def stem_of(item: Item) -> str:
    """Return what its results are named after: its name without suffix."""
    return os.path.splitext(item.name)[0]  # noqa: PTH122  (the name may be of no file)


@dataclass(frozen=True, slots=True)
class FileItem:
    """A picture in a file of its own."""

    name: str
    path: Path
    part: ClassVar[str] = ""

    def read(self, span: Span | None) -> Picture:
        """See `Item`."""
        return read_picture(self.path, span)


@dataclass(frozen=True, slots=True)
class MemberItem:
    """A picture in a shard; its name is that within the shard, below the shard's own."""

    name: str
    shard: str
    offset: int
    num_bytes: int

    @property
    def part(self) -> str:
        """See `Item`."""
        return self.shard

    def read(self, span: Span | None) -> Picture:
        """See `Item`."""
        return decode_picture(fetch(self.shard, self.offset, self.num_bytes), self.name, span)


@dataclass(frozen=True, slots=True)
class RemoteItem:
    """A picture in remote storage."""

    name: str
    address: str
    part: ClassVar[str] = ""

    def read(self, span: Span | None) -> Picture:
        """See `Item`."""
        return decode_picture(fetch(self.address), self.name, span)


class Source(Protocol):
    """Where pictures come from."""

    def parts(self) -> Sequence[str]:
        """Return the names of the parts that processes share out, such as shards; at least one."""

    def items(self, part: str) -> Iterator[Item | UserError]:
        """Give the pictures of a part, and an error for what cannot be walked, whole or further."""

    def count(self) -> int:
        """Return about how many pictures there are, which may take a while."""


@dataclass(frozen=True)
class FolderSource:
    """The pictures of a folder and its sub-folders, in the order of the disk.

    Attributes:
        root: the folder.
        without: a folder that is not entered, such as that of results.
    """

    root: Path
    without: Path | None = None

    def parts(self) -> Sequence[str]:
        """See `Source`."""
        return ("",)

    def items(self, part: str) -> Iterator[Item | UserError]:
        """See `Source`."""
        for path in walk_images(self.root, self.without):
            if isinstance(path, UserError):
                yield path
            else:
                yield FileItem(printable(path.relative_to(self.root).as_posix()), path)

    def count(self) -> int:
        """See `Source`."""
        return sum(1 for _ in walk_images(self.root, self.without))


@dataclass(frozen=True)
class ListSource:
    """The files that a text file names, one a line, relative to its own folder."""

    file: Path

    def parts(self) -> Sequence[str]:
        """See `Source`."""
        return ("",)

    def items(self, part: str) -> Iterator[Item | UserError]:
        """See `Source`; a line may repeat an earlier one."""
        root = self.file.parent
        try:
            with self.file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
                for line in map(str.strip, lines):
                    if line and not line.startswith("#"):
                        path = root / line
                        yield FileItem(printable(inside(path, root).as_posix()), path)
        except OSError as error:
            yield UserError(f"{self.file}: cannot be read ({error.strerror})")

    def count(self) -> int:
        """See `Source`."""
        with self.file.open("rb") as lines:
            return sum(1 for line in lines if line.strip() and not line.startswith(b"#"))


@dataclass(frozen=True)
class ImageSource:
    """The pages of one image file."""

    file: Path

    def parts(self) -> Sequence[str]:
        """See `Source`."""
        return ("",)

    def items(self, part: str) -> Iterator[Item | UserError]:
        """See `Source`."""
        for page in pages(self.file):
            yield FileItem(printable(page.name), page)

    def count(self) -> int:
        """See `Source`."""
        return len(pages(self.file))


@dataclass(frozen=True)
class ShardsSource:
    """The pictures of tar shards in the format of webdataset, on a disk or remote."""

    shards: tuple[str, ...]

    def parts(self) -> Sequence[str]:
        """Return the shards."""
        return self.shards

    def items(self, part: str) -> Iterator[Item | UserError]:
        """See `Source`."""
        stem = part.rpartition("/")[2].removesuffix(".tar")
        try:
            for name, offset, size in walk(part):
                yield MemberItem(printable(f"{stem}/{name}"), part, offset, size)
        except UserError as error:
            yield error

    def count(self) -> int:
        """See `Source`; estimated from the first shard, by the bytes."""
        first = sum(1 for _ in walk(self.shards[0]))
        sizes = [stamp(shard)[0] for shard in self.shards]
        return round(first * sum(sizes) / sizes[0])


@dataclass(frozen=True)
class RemoteSource:
    """The pictures below an address, folder by folder."""

    address: str

    def parts(self) -> Sequence[str]:
        """See `Source`."""
        return ("",)

    def items(self, part: str) -> Iterator[Item | UserError]:
        """See `Source`."""
        try:
            for name in below(self.address):
                suffix = Path(name).suffix.lower()
                if has_image_extension(Path(name)) and suffix not in ARRAYS:
                    yield RemoteItem(printable(name), f"{self.address}/{name}")
        except UserError as error:
            yield error

    def count(self) -> int:
        """See `Source`."""
        return sum(1 for _ in self.items(""))


def find_source(path: Path | str, output: Path | str | None = None) -> Source:
    """Say what a path or address stands for; what lies in the folder `output` is no input.

    Raises:
        UserError: there is nothing there, nothing that holds pictures, or `output` itself.
    """
    if str(path) == str(output):
        raise _is_input(output)
    if is_table_address(str(path)):
        return open_table(str(path))
    if str(path).lower().endswith(".tar"):
        return ShardsSource(tuple(expand_text(str(path))))
    if isinstance(path, str):
        return RemoteSource(path.rstrip("/"))
    if path.is_dir():
        inside = output if isinstance(output, Path) else None
        if inside is not None and path.resolve() == inside.resolve():
            raise _is_input(output)
        return FolderSource(path, inside)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; {nearest(path)}")
    if path.suffix.lower() == ".txt":
        return ListSource(path)
    if has_image_extension(path):
        return ImageSource(path)
    raise UserError(f"{path}: neither a folder, a list .txt, a shard .tar nor an image")


def _is_input(output: object) -> UserError:
    return UserError(
        f"--output {output}: is the input folder, so results would become inputs; give another"
    )
