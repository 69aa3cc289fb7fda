"""What of a job is done, so that it can be killed at any moment and go on.

`<output>/.translate/` holds what results depend on (a start with other settings is refused), and a
line for each picture that is done. A line is written after the results are in place, so that a
picture without a line is made again, and one with a line never is; a line that was cut off counts
as none. Each process writes lines of its own, and all read all of them.

Failures stand in lines of their own, anew at each start: what has failed is tried again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from core.data.readers.shards import is_shard
from core.data.readers.storage import is_remote
from core.errors import UserError
from core.jobs.bulk.digests import DigestSet
from core.jobs.bulk.records import FOLDER, open_records

_GROUP = 256
"""Lines that are written together."""
_SECONDS = 2.0
"""How long a line waits for others at most."""


def folder_of(output: Path | str) -> Path | None:
    """Return the folder of a job's records: within the output, or beside shards; None if remote."""
    if isinstance(output, str):
        return None
    return (output.parent if is_shard(output) else output) / FOLDER


class Written(NamedTuple):
    """A file of results: its name below the output, and what `check` compares it with."""

    name: str
    num_bytes: int
    crc32: int
    shard: str = ""
    """The shard that it is a member of, if it is."""


class Manifest:
    """The record of one process of a job, opened and locked from construction until it is closed.

    Attributes:
        num_done: pictures that are done, by all processes before this start and by this one.
        num_failed: pictures of this process that could not be made in this start.
        failures: where they are named.

    Args:
        output: the folder or address of results.
        settings: {option: value} of all that results depend on.
        rank: number of this process.
        size: number of processes.
        overwrite: forget what is done, and make it again.
        check: keep what `matches` needs.

    Raises:
        UserError: another job is at work there, the folder cannot be written, or what it holds was
            made with other settings.
    """

    def __init__(
        self,
        output: Path | str,
        settings: Mapping[str, Any],
        rank: int = 0,
        size: int = 1,
        *,
        overwrite: bool = False,
        check: bool = False,
    ) -> None:
        self.output = output
        self.num_done, self.num_failed = 0, 0
        self._lines: list[str] = []
        self._group = _GROUP * 16 if isinstance(output, str) and is_remote(output) else _GROUP
        self._seconds = _SECONDS * 15 if self._group > _GROUP else _SECONDS
        self._flushed = time.monotonic()
        self._names, self._stems = DigestSet(), DigestSet()
        self._files = DigestSet() if check else None
        self._records = open_records(output, rank, size)
        self.failures = self._records.failures
        try:
            self._require_same(settings, rank, overwrite)
            self._records.forget("failed")
            if overwrite:
                self._records.forget("done")
            for entry in () if overwrite else self.entries():
                self._take(entry["name"], entry["stem"])
                self.num_done += 1
                if self._files is not None:
                    for written in entry["files"]:
                        self._files.add(str(written))
        except BaseException:
            self._records.close()
            raise

    def has(self, name: str) -> bool:
        """Tell whether a picture was recorded, or claimed in this start."""
        return name in self._names

    @property
    def checks(self) -> bool:
        """Whether results are to be compared with what is recorded of them."""
        return self._files is not None

    def matches(self, written: Written) -> bool:
        """Tell whether a file is recorded as it is; only if the manifest `checks`."""
        return self._files is not None and str(written) in self._files

    def claim(self, name: str, stem: str) -> None:
        """Reserve the name of a picture's results, which no other picture may have.

        Args:
            name: of the picture.
            stem: of its results, without what follows it for each of them.

        Raises:
            UserError: another picture has results of this name.
        """
        if stem in self._stems and name not in self._names:
            raise UserError(
                f"{name}: its result would have the name of another's, {stem}; rename one of them"
            )
        self._take(name, stem)

    def record(self, name: str, stem: str, written: Sequence[Written]) -> None:
        """Note that a picture is done and its results are in place; written in groups.

        Raises:
            UserError: the disk is full, or the like.
        """
        self.num_done += 1
        self._lines.append(_line({"name": name, "stem": stem, "files": written}))
        if len(self._lines) >= self._group or time.monotonic() - self._flushed > self._seconds:
            self.flush()

    def fail(self, name: str, reason: str) -> None:
        """Note at once that a picture could not be made, and why."""
        self.num_failed += 1
        self._records.append("failed", _bytes(_line({"name": name, "reason": reason})))

    def flush(self) -> None:
        """Write the lines that wait."""
        if self._lines:
            self._records.append("done", _bytes("".join(self._lines)))
        self._lines.clear()
        self._flushed = time.monotonic()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Give {name, stem, files} of every picture done, of all processes, as it is recorded."""
        for line in self._records.lines():
            with contextlib.suppress(ValueError):  # a line that was cut off
                entry = json.loads(line)
                entry["files"] = [Written(*each) for each in entry["files"]]
                yield entry

    def close(self) -> None:
        """Write what waits, and let the next job in."""
        try:
            self.flush()
        finally:
            self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, name: str, stem: str) -> None:
        self._names.add(name)
        self._stems.add(stem)

    def _require_same(self, settings: Mapping[str, Any], rank: int, overwrite: bool) -> None:
        """Compare the settings with those of earlier starts; process 0 writes them."""
        text = self._records.settings()
        wanted = json.loads(json.dumps(settings))
        if text is None or overwrite:
            if rank == 0:
                self._records.set_settings(json.dumps(wanted, indent=1))
            return
        try:
            found = json.loads(text)
        except ValueError:
            raise UserError(
                f"{self.output}: the job's settings are damaged; --overwrite begins anew"
            ) from None
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                raise UserError(
                    f"{self.output}: holds results made with {key} {found.get(key)}, not "
                    f"{wanted.get(key)}; choose another --output, or --overwrite them"
                )


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _bytes(lines: str) -> bytes:
    return lines.encode("utf-8", "surrogateescape")
