"""Pictures in tar shards, in the format of webdataset, read in any order.

A shard is an uncompressed tar file. Its headers are walked once, and pictures are then read where
they lie; what is no picture (labels, JSON) is passed by. `data-{000000..000099}.tar` stands for a
hundred shards.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from core.data.images import decode_picture, decode_stored, has_image_extension
from core.data.label_maps import Ids, read_ids
from core.data.names import printable, same
from core.data.picture import Pixels
from core.data.readers.files import Source, relative_name
from core.data.readers.storage import fetch, opened, stamp
from core.data.stored import Stored
from core.data.transforms import for_network
from core.errors import UserError
from core.options import DataOptions

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class ShardSource(Source):
    """Pictures of shards; `files` are `<shard>/<member>`, which lie at `places`."""

    places: tuple[tuple[Path, int, int], ...] = field(kw_only=True)
    """Shard, and offset and number of bytes in it."""

    @classmethod
    def open(
        cls, pattern: Path, channels: int, options: DataOptions, max_images: int | None = None
    ) -> ShardSource:
        """Find the pictures of the shards that a path, with a range or without, stands for.

        At most `max_images` are kept, in the order of the shards.

        Raises:
            UserError: a shard is missing, damaged or no tar file, or there are no pictures.
        """
        places = (place for shard in expand(pattern) for place in members(shard))
        found = list(islice(places, max_images))
        if not found:
            raise UserError(f"{pattern}: no pictures in these shards")
        return cls(
            pattern.name,
            pattern.parent,
            tuple((shard / name,) for shard, name, _, _ in found),
            (channels,),
            False,
            options,
            places=tuple((shard, offset, size) for shard, _, offset, size in found),
        )

    def name(self, item: int, image: int) -> str:
        """Return `<shard>/<member>`."""
        return relative_name(self.files[item][image], self.root)

    def member(self, item: int) -> str:
        """Return the name within the shard, without its ending."""
        shard, _, _ = self.places[item]
        return self.files[item][0].relative_to(shard).with_suffix("").as_posix()

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Decode, convert to the channels and resize; see `Images.read`."""
        shard, offset, size = self.places[item]
        (name,) = self.files[item]
        try:
            with shard.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from None
        picture = decode_picture(content, str(name), self.spans[0])
        return (for_network(picture, self.channels[0], self.options),)


@dataclass(frozen=True)
class ShardPictures:
    """Pictures of shards, local or not; see `core.data.readers.interface.Pictures`.

    Attributes:
        shards: Their addresses.
        marks: Their stamps (`core.data.readers.storage`).
        members: Shard's number, key, name, offset and number of bytes of each picture.
    """

    shards: tuple[str, ...]
    marks: tuple[tuple[int, int], ...]
    members: tuple[tuple[int, str, str, int, int], ...]

    @classmethod
    def open(cls, pattern: str, part: str = "") -> ShardPictures:
        """Find pictures; of each sample the one that ends in `part`, such as `input.png`.

        As in webdataset, a sample's key ends at the first dot of its file names.

        Raises:
            UserError: A shard is missing or damaged, there are no pictures, or several of a sample.
        """
        shards = tuple(expand_text(pattern))
        found: list[tuple[int, str, str, int, int]] = []
        keys: set[str] = set()
        for number, shard in enumerate(shards):
            for name, offset, size in walk(shard):
                folder, slash, base = name.rpartition("/")
                key, _, ending = base.partition(".")
                key = same(folder + slash + key)
                if part and ending.lower() != part.lower():
                    continue
                if key in keys:
                    raise UserError(
                        f"{shard}: sample {key} has several pictures, or stands twice; name the "
                        f"part that is meant: {pattern}#{ending}"
                    )
                keys.add(key)
                found.append((number, key, name, offset, size))
        if not found:
            what = f"pictures that end in .{part}" if part else "pictures"
            raise UserError(f"{pattern}: no {what} in these shards")
        return cls(shards, tuple(map(stamp, shards)), tuple(found))

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.members)

    def key(self, item: int) -> str:
        """See `Pictures.key`."""
        return self.members[item][1]

    def name(self, item: int) -> str:
        """Return `<shard>/<member>`."""
        number, _, name, _, _ = self.members[item]
        return printable(f"{self.shards[number].rpartition('/')[2]}/{name}")

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`."""
        return decode_stored(self._content(item), self.name(item))

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return read_ids(Path(self.name(item)), self._content(item))

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `Pictures.stamps`."""
        return [(shard, *mark) for shard, mark in zip(self.shards, self.marks, strict=True)]

    def _content(self, item: int) -> bytes:
        number, _, _, offset, size = self.members[item]
        return fetch(self.shards[number], offset, size)


def is_shard(path: Path) -> bool:
    """Return whether a path is named like a shard, or like many."""
    return path.suffix.lower() == ".tar"


def expand(pattern: Path) -> list[Path]:
    """Return the shards that a path with a range `{000..123}` stands for; the path itself without.

    Raises:
        UserError: the range runs backwards.
    """
    return [pattern.with_name(name) for name in expand_text(pattern.name)]


def expand_text(pattern: str) -> list[str]:
    """Return what `expand` does of any text.

    Raises:
        UserError: As `expand`.
    """
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise UserError(f"{pattern}: the range {match[0]} holds no number")
    return [
        pattern.replace(match[0], f"{number:0{len(match[1])}d}", 1)
        for number in range(first, last + 1)
    ]


def members(shard: Path) -> Iterator[tuple[Path, str, int, int]]:
    """Give shard, name, offset and size of each picture; links and folders are passed by.

    Raises:
        UserError: As `walk`.
    """
    for name, offset, size in walk(str(shard)):
        yield shard, name, offset, size


def walk(shard: str) -> Iterator[tuple[str, int, int]]:
    """Give name, offset and size of each picture of a shard, local or not.

    Raises:
        UserError: It is missing, damaged, or no tar file.
    """
    try:
        with opened(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isreg() and has_image_extension(Path(member.name)):
                    yield member.name, member.offset_data, member.size
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{shard}: no shard, which is an uncompressed tar file, or a damaged one ({error})"
        ) from None
