"""What a job takes its pictures from: a folder, a list, or shards, walked and never collected."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from core.data.images import decode_picture, has_image_extension, read_picture
from core.data.listing import nearest, walk_images
from core.data.names import inside, printable
from core.data.pages import pages
from core.data.picture import Picture
from core.data.readers.shards import expand, is_shard, members
from core.errors import UserError
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
    shard: Path
    offset: int
    num_bytes: int

    @property
    def part(self) -> str:
        """See `Item`."""
        return self.shard.name

    def read(self, span: Span | None) -> Picture:
        """See `Item`."""
        try:
            with self.shard.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.num_bytes)
        except OSError as error:
            raise UserError(f"{self.name}: cannot be read ({error.strerror})") from None
        if len(content) < self.num_bytes:
            raise UserError(f"{self.name}: the shard ends within it; fetch the shard again")
        return decode_picture(content, self.name, span)


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
    """The pictures of tar shards in the format of webdataset."""

    shards: tuple[Path, ...]

    def parts(self) -> Sequence[str]:
        """Return the shards' names."""
        return [shard.name for shard in self.shards]

    def items(self, part: str) -> Iterator[Item | UserError]:
        """See `Source`."""
        shard = self.shards[0].with_name(part)
        try:
            for _, name, offset, size in members(shard):
                yield MemberItem(printable(f"{shard.stem}/{name}"), shard, offset, size)
        except UserError as error:
            yield error

    def count(self) -> int:
        """See `Source`; estimated from the first shard, by the bytes."""
        first = sum(1 for _ in members(self.shards[0]))
        sizes = [shard.stat().st_size for shard in self.shards]
        return round(first * sum(sizes) / sizes[0])


def find_source(path: Path, output: Path | None = None) -> Source:
    """Say what a path stands for; what lies in the folder `output` is no input.

    Raises:
        UserError: there is nothing there, nothing that holds pictures, or `output` itself.
    """
    if is_shard(path):
        return ShardsSource(tuple(expand(path)))
    if path.is_dir():
        if output is not None and path.resolve() == output.resolve():
            raise UserError(
                f"--output {output}: is the input folder, so results would become inputs; give "
                "another"
            )
        return FolderSource(path, output)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; {nearest(path)}")
    if path.suffix.lower() == ".txt":
        return ListSource(path)
    if has_image_extension(path):
        return ImageSource(path)
    raise UserError(f"{path}: neither a folder, a list .txt, a shard .tar nor an image")
