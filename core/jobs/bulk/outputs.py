"""Where results go: into a folder, file by file, or into tar shards.

Workers encode, and write files; the main process alone appends to shards. What is done of a folder
the manifest says. Of shards they say it themselves: their members are walked when they are first
needed, and what a killed process has left of a picture at the end is cut off.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from core.data.picture import Picture
from core.data.readers.shards import expand, is_shard
from core.data.readers.storage import fetch
from core.errors import UserError
from core.jobs.bulk.digests import DigestSet, digest
from core.jobs.bulk.manifest import Manifest, Written
from core.jobs.bulk.records import FOLDER
from core.jobs.bulk.results import Encoding, OutputError, encoded, upload, write
from core.jobs.bulk.sources import Item, stem_of

_BLOCK = 512
"""Bytes; of these a tar file consists, and it ends in two that are empty."""


class Output(Protocol):
    """Where results go."""

    @property
    def folder(self) -> Path | str:
        """Folder or address of the results and of the manifest."""

    def bucket(self, item: Item) -> int:
        """Return a number; items of one number go to the same process."""

    def is_done(self, item: Item, manifest: Manifest) -> bool:
        """Tell whether an item's results are in place, and intact if the manifest `checks`."""

    def work(self, item: Item, pictures: Sequence[Picture]) -> tuple[Callable[..., Any], Any]:
        """Return what a worker does with an item's results, a function and its arguments."""

    def keep(self, item: Item, made: Any) -> list[Written]:
        """Put in place what a worker returned.

        Raises:
            OutputError: the output takes no more.
        """

    def finish(self) -> None:
        """Complete what this process has written to."""

    def forget(self, rank: int, size: int) -> None:
        """Begin anew with what this process of `size` is to write; files may be replaced later."""


class FolderOutput:
    """A file for each result, under its input's name."""

    def __init__(self, folder: Path, encoding: Encoding) -> None:
        self.folder, self.encoding = folder, encoding

    def bucket(self, item: Item) -> int:
        """See `Output`: by the name of the results, so that two that share it meet."""
        return digest(stem_of(item))

    def is_done(self, item: Item, manifest: Manifest) -> bool:
        """See `Output`."""
        names = self.encoding.names(stem_of(item))
        return manifest.has(item.name) and all(self._is_there(name, manifest) for name in names)

    def _is_there(self, name: str, manifest: Manifest) -> bool:
        path = self.folder / name
        if not manifest.checks:
            return path.exists()
        try:
            content = path.read_bytes()
        except OSError:
            return False
        return manifest.matches(Written(name, len(content), zlib.crc32(content)))

    def work(self, item: Item, pictures: Sequence[Picture]) -> tuple[Callable[..., Any], Any]:
        """See `Output`."""
        return write, (self.folder, stem_of(item), pictures, self.encoding)

    def keep(self, item: Item, made: list[Written]) -> list[Written]:
        """See `Output`."""
        return made

    def finish(self) -> None:
        """See `Output`."""

    def forget(self, rank: int, size: int) -> None:
        """See `Output`."""


class RemoteOutput:
    """A file for each result in remote storage; what is done the manifest alone says.

    Asking the storage for each result would cost a message each; only a check reads them.
    """

    def __init__(self, address: str, encoding: Encoding) -> None:
        self.folder, self.encoding = address.rstrip("/"), encoding

    def bucket(self, item: Item) -> int:
        """See `Output`."""
        return digest(stem_of(item))

    def is_done(self, item: Item, manifest: Manifest) -> bool:
        """See `Output`."""
        if not manifest.has(item.name) or not manifest.checks:
            return manifest.has(item.name)
        try:
            for name in self.encoding.names(stem_of(item)):
                content = fetch(f"{self.folder}/{name}")
                if not manifest.matches(Written(name, len(content), zlib.crc32(content))):
                    return False
        except UserError:
            return False
        return True

    def work(self, item: Item, pictures: Sequence[Picture]) -> tuple[Callable[..., Any], Any]:
        """See `Output`."""
        return upload, (self.folder, stem_of(item), pictures, self.encoding)

    def keep(self, item: Item, made: list[Written]) -> list[Written]:
        """See `Output`."""
        return made

    def finish(self) -> None:
        """See `Output`."""

    def forget(self, rank: int, size: int) -> None:
        """See `Output`."""


class ShardOutput:
    """Tar shards in the format of webdataset.

    Those of shards have the members of their inputs. Other results are spread by name. A shard lies
    in the manifest's folder as long as it is written to.

    Args:
        shards: all shards of the job.
        encoding: of their members.
        inputs: the shards that the results are of, one for each; () where inputs are none.

    Raises:
        UserError: as many shards go in as do not come out.
    """

    def __init__(
        self, shards: Sequence[Path], encoding: Encoding, inputs: Sequence[str] = ()
    ) -> None:
        self.shards, self.encoding = shards, encoding
        self.folder = shards[0].parent
        if inputs and len(inputs) != len(shards):
            raise UserError(
                f"{shards[0]}: {len(inputs)} shards come in and {len(shards)} would go out; give "
                "--output a range of as many"
            )
        self._numbers = {name: number for number, name in enumerate(inputs)}
        self._ends: dict[int, int] = {}
        self._members = DigestSet()

    def bucket(self, item: Item) -> int:
        """Return the number of the shard that an item's results go into."""
        if self._numbers:
            return self._numbers[item.part]
        return digest(stem_of(item)) % len(self.shards)

    def is_done(self, item: Item, manifest: Manifest) -> bool:
        """See `Output`; of a shard that is checked, members count up to the first damaged one."""
        number = self.bucket(item)
        self._open(number, manifest if manifest.checks else None)
        return all(f"{number}/{name}" in self._members for name in self._names(item))

    def work(self, item: Item, pictures: Sequence[Picture]) -> tuple[Callable[..., Any], Any]:
        """See `Output`."""
        return encoded, (self._stem(item), pictures, self.encoding)

    def keep(self, item: Item, made: list[tuple[Written, bytes]]) -> list[Written]:
        """Append an item's results to its shard, in one piece."""
        number = self.bucket(item)
        end = self._open(number)
        content = b"".join(_member(written.name, data) for written, data in made)
        path = self._partial(number)
        try:
            if not path.exists():
                path.touch()
                if self.shards[number].exists():
                    self.shards[number].replace(path)
            with path.open("r+b") as file:
                file.seek(end)
                file.write(content)
                file.truncate()
        except OSError as error:
            raise OutputError(
                f"{self.shards[number]}: cannot be written ({error.strerror}); free some space or "
                "choose an output you may write to"
            ) from error
        self._ends[number] = end + len(content)
        for name in self._names(item):
            self._members.add(f"{number}/{name}")
        shard = self.shards[number].name
        return [written._replace(shard=shard) for written, _ in made]

    def finish(self) -> None:
        """Give the shards that were written to their end and their place."""
        for number, end in self._ends.items():
            path = self._partial(number)
            if path.exists():
                with path.open("r+b") as file:
                    file.seek(end)
                    file.write(bytes(2 * _BLOCK))
                    file.truncate()
                path.replace(self.shards[number])

    def forget(self, rank: int, size: int) -> None:
        """Remove this process's shards."""
        for number in range(rank, len(self.shards), size):
            self.shards[number].unlink(missing_ok=True)
            self._partial(number).unlink(missing_ok=True)

    def _stem(self, item: Item) -> str:
        stem = stem_of(item)
        return stem.partition("/")[2] if self._numbers else stem

    def _names(self, item: Item) -> list[str]:
        return self.encoding.names(self._stem(item))

    def _partial(self, number: int) -> Path:
        return self.folder / FOLDER / self.shards[number].name

    def _open(self, number: int, manifest: Manifest | None = None) -> int:
        """Return where the next member of a shard goes; walk those that are there at first.

        With a manifest they are compared with it.
        """
        if number not in self._ends:
            path, shard = self._partial(number), self.shards[number]
            whole = _walk(path if path.exists() else shard, shard.name, manifest)
            per_picture = len(self.encoding.labels)
            whole = whole[: len(whole) // per_picture * per_picture]
            for name, _ in whole:
                self._members.add(f"{number}/{name}")
            self._ends[number] = whole[-1][1] if whole else 0
        return self._ends[number]


def find_output(path: Path | str, encoding: Encoding, inputs: Sequence[str] = ()) -> Output:
    """Say what a path or address stands for: shards, if it is named like one, or a folder.

    `inputs` are the shards that come in, if any.

    Raises:
        UserError: shards in remote storage, which knows no appending.
    """
    if isinstance(path, str):
        if path.endswith(".tar"):
            raise UserError(f"{path}: shards grow, so they go to a disk; upload them when done")
        return RemoteOutput(path, encoding)
    if is_shard(path):
        return ShardOutput(expand(path), encoding, inputs)
    return FolderOutput(path, encoding)


def _member(name: str, content: bytes) -> bytes:
    """Return a member of a tar file, the same at every call."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header + content + bytes(-len(content) % _BLOCK)


def _walk(path: Path, shard: str, manifest: Manifest | None) -> list[tuple[str, int]]:
    """Return the name of each whole member of a tar file, and where the next one begins.

    With a manifest only up to the first that it does not hold.
    """
    found: list[tuple[str, int]] = []
    if not path.exists() or not (size := path.stat().st_size):
        return found
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if end > size or (manifest and not _matches(archive, member, shard, manifest)):
                    break
                found.append((member.name, end))
    except (tarfile.TarError, OSError) as error:
        if not found and size >= _BLOCK:
            raise UserError(f"{path}: no shard of ours ({error}); remove it") from None
    return found


def _matches(
    archive: tarfile.TarFile, member: tarfile.TarInfo, shard: str, manifest: Manifest
) -> bool:
    file = archive.extractfile(member)
    content = file.read() if file else b""
    return manifest.matches(Written(member.name, len(content), zlib.crc32(content), shard))
