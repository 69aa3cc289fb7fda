"""Where a manifest's lines lie: in files that grow, or in storage that knows no appending.

On this machine, or a disk that machines share, there is a file for each process. In remote storage
(`core.data.readers.storage`) each group of lines is an object of its own.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from filelock import FileLock

from core.data.readers.storage import fetch, is_remote, listed, put, remove
from core.errors import UserError
from core.jobs.bulk.digests import digest
from core.runtime.files import write_file
from core.runtime.together import locked

FOLDER = ".translate"
SETTINGS = "job.json"

Kind = Literal["done", "failed"]


class Records(Protocol):
    """Lines of several processes, and the settings of their job."""

    @property
    def failures(self) -> str:
        """Where this process's failures are, for a person."""

    def append(self, kind: Kind, content: bytes) -> None:
        """Add whole lines of this process."""

    def lines(self) -> Iterator[bytes]:
        """Give the lines of what is done, of all processes; the last ones may be cut off."""

    def settings(self) -> str | None:
        """Return the settings, if there are any yet."""

    def set_settings(self, text: str) -> None:
        """Replace the settings."""

    def forget(self, kind: Kind) -> None:
        """Remove this process's lines, and those of processes that are no more."""

    def close(self) -> None:
        """Let the next job in."""


class LocalRecords:
    """Files in `<output>/.translate/`; failures stand beside the results."""

    def __init__(self, output: Path, rank: int, size: int) -> None:
        self._output, self._folder = output, output / FOLDER
        self._rank, self._size = rank, size
        with _writing(output):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._lock: FileLock | None = locked(self._folder / f"lock-{rank:05d}", str(output))
        for path in self._folder.glob(".*.tmp") if size == 1 else ():
            path.unlink(missing_ok=True)  # of a process that was killed
        self._paths = {
            "done": self._folder / f"done-{rank:05d}.jsonl",
            "failed": output / (f"failed-{rank:05d}.jsonl" if rank else "failed.jsonl"),
        }
        self._mended: set[Kind] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lock here: a copy only reads."""
        return self.__dict__ | {"_lock": None}

    @property
    def failures(self) -> str:
        """See `Records`."""
        return str(self._paths["failed"])

    def append(self, kind: Kind, content: bytes) -> None:
        """See `Records`; a line that was cut off by an earlier end is closed first."""
        path = self._paths[kind]
        with _writing(path), path.open("ab", buffering=0) as file:
            if kind not in self._mended and not _ends_whole(path):
                content = b"\n" + content
            self._mended.add(kind)
            while content:  # a full disk takes a part
                content = content[file.write(content) :]

    def lines(self) -> Iterator[bytes]:
        """See `Records`."""
        for path in sorted(self._folder.glob("done-*.jsonl")):
            with path.open("rb") as file:
                yield from file

    def settings(self) -> str | None:
        """See `Records`."""
        path = self._folder / SETTINGS
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def set_settings(self, text: str) -> None:
        """See `Records`."""
        write_file(self._folder / SETTINGS, lambda file: file.write(text.encode()))

    def forget(self, kind: Kind) -> None:
        """See `Records`."""
        folder = self._paths[kind].parent
        with _writing(folder):
            for path in folder.glob(f"{kind}*.jsonl"):
                if _is_ours(path.stem, kind, self._rank, self._size):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """See `Records`."""
        if self._lock is not None:
            self._lock.release()


class RemoteRecords:
    """Objects below `<output>/.translate/`, named `done-00000-<time>-<number>.jsonl`.

    Jobs on one output are told apart on one machine only: storage knows no locks.
    """

    def __init__(self, output: str, rank: int, size: int) -> None:
        self._folder = f"{output.rstrip('/')}/{FOLDER}"
        self._rank, self._size = rank, size
        self._start, self._number = time.time_ns(), 0
        name = f"translate-{digest(output):016x}-{rank:05d}.lock"
        self._lock: FileLock | None = locked(Path(tempfile.gettempdir()) / name, output)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lock here: a copy only reads."""
        return self.__dict__ | {"_lock": None}

    @property
    def failures(self) -> str:
        """See `Records`."""
        return f"{self._folder}/failed-{self._rank:05d}-*.jsonl"

    def append(self, kind: Kind, content: bytes) -> None:
        """See `Records`."""
        name = f"{kind}-{self._rank:05d}-{self._start}-{self._number:06d}.jsonl"
        put(f"{self._folder}/{name}", content)
        self._number += 1

    def lines(self) -> Iterator[bytes]:
        """See `Records`."""
        for name in sorted(listed(self._folder)):
            if name.startswith("done-"):
                yield from fetch(f"{self._folder}/{name}").splitlines(keepends=True)

    def settings(self) -> str | None:
        """See `Records`."""
        if SETTINGS not in listed(self._folder):
            return None
        return fetch(f"{self._folder}/{SETTINGS}").decode()

    def set_settings(self, text: str) -> None:
        """See `Records`."""
        put(f"{self._folder}/{SETTINGS}", text.encode())

    def forget(self, kind: Kind) -> None:
        """See `Records`."""
        for name in listed(self._folder):
            match = re.match(rf"({kind}-\d+)-", name)
            if match and _is_ours(match[1], kind, self._rank, self._size):
                remove(f"{self._folder}/{name}")

    def close(self) -> None:
        """See `Records`."""
        if self._lock is not None:
            self._lock.release()


def open_records(output: Path | str, rank: int, size: int) -> Records:
    """Open the records of process `rank` of `size`, and lock them.

    Raises:
        UserError: another job holds them, or nothing can be written there.
    """
    if isinstance(output, str) and is_remote(output):
        return RemoteRecords(output, rank, size)
    return LocalRecords(Path(output), rank, size)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line that a file could not be written within."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
            "an output you may write to"
        ) from error


def _is_ours(stem: str, kind: Kind, rank: int, size: int) -> bool:
    """Tell whether lines are those of this process, or of one that is no more and falls to it."""
    number = stem.removeprefix(kind).lstrip("-") or "0"
    return number.isdecimal() and int(number) % size == rank


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
