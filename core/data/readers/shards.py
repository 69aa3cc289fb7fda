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

from core.data.images import decode_picture, has_image_extension
from core.data.picture import Pixels
from core.data.readers.files import Source, relative_name
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


def is_shard(path: Path) -> bool:
    """Return whether a path is named like a shard, or like many."""
    return path.suffix.lower() == ".tar"


def expand(pattern: Path) -> list[Path]:
    """Return the shards that a path with a range `{000..123}` stands for; the path itself without.

    Raises:
        UserError: the range runs backwards.
    """
    match = _RANGE.search(pattern.name)
    if match is None:
        return [pattern]
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise UserError(f"{pattern}: the range {match[0]} holds no number")
    return [
        pattern.with_name(pattern.name.replace(match[0], f"{number:0{len(match[1])}d}", 1))
        for number in range(first, last + 1)
    ]


def members(shard: Path) -> Iterator[tuple[Path, str, int, int]]:
    """Give shard, name, offset and size of each picture; links and folders are passed by."""
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isreg() and has_image_extension(Path(member.name)):
                    yield shard, member.name, member.offset_data, member.size
    except FileNotFoundError:
        raise UserError(f"{shard}: there is no such shard") from None
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{shard}: no shard, which is an uncompressed tar file, or a damaged one ({error})"
        ) from None
