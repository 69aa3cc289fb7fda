"""What of a job is done, so that it can be killed at any moment and go on.

Beside the results, in `<output>/.translate/`, lie

- `job.json`: what results depend on; a start with other settings is refused.
- `done-00000.jsonl`: a line for each picture that is done, appended by process 0 alone. A line is
  written after its results are in place, so that a picture without a line is made again, and one
  with a line never is. A line that was cut off counts as none.
- `lock-00000`: held by process 0 as long as it lives.

Failures are in `<output>/failed.jsonl` (`failed-00001.jsonl` of process 1, and so on), anew at each
start: what has failed is tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from core.errors import UserError
from core.jobs.bulk.digests import DigestSet
from core.runtime.files import write_file

FOLDER = ".translate"
_GROUP = 256
"""Lines that are written together."""
_SECONDS = 2.0
"""How long a line waits for others at most."""


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

    Args:
        output: the folder of results.
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
        output: Path,
        settings: Mapping[str, Any],
        rank: int = 0,
        size: int = 1,
        *,
        overwrite: bool = False,
        check: bool = False,
    ) -> None:
        self.output, self._folder = output, output / FOLDER
        self.num_done, self.num_failed = 0, 0
        self._lines: list[str] = []
        self._flushed = time.monotonic()
        self._names, self._stems = DigestSet(), DigestSet()
        self._files = DigestSet() if check else None
        with _writing(output):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._folder / f"lock-{rank:05d}", output)
        try:
            self._require_same(settings, rank, overwrite)
            own = self._folder / f"done-{rank:05d}.jsonl"
            failed = f"failed-{rank:05d}.jsonl" if rank else "failed.jsonl"
            self.failures = output / failed
            self._forget(rank, size, everything=overwrite)
            for entry in () if overwrite else self.entries():
                self._take(entry["name"], entry["stem"])
                self.num_done += 1
                if self._files is not None:
                    for written in entry["files"]:
                        self._files.add(str(written))
            with _writing(own):
                self._file = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                if not _ends_whole(own):
                    os.write(self._file, b"\n")
        except BaseException:
            self._lock.release()
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
        entry = {"name": name, "stem": stem, "files": written}
        self._lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
        if len(self._lines) >= _GROUP or time.monotonic() - self._flushed > _SECONDS:
            self.flush()

    def fail(self, name: str, reason: str) -> None:
        """Note at once that a picture could not be made, and why."""
        self.num_failed += 1
        line = json.dumps({"name": name, "reason": reason}, ensure_ascii=False) + "\n"
        with _writing(self.failures), self.failures.open("a", encoding="utf-8") as file:
            file.write(line)

    def flush(self) -> None:
        """Write the lines that wait."""
        content = "".join(self._lines).encode("utf-8", "surrogateescape")
        with _writing(self._folder):
            while content:  # a full disk takes a part
                content = content[os.write(self._file, content) :]
        self._lines.clear()
        self._flushed = time.monotonic()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Give {name, stem, files} of every picture done, of all processes, as it is on disk."""
        for path in sorted(self._folder.glob("done-*.jsonl")):
            with path.open("rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError):  # a line that was cut off
                        entry = json.loads(line)
                        entry["files"] = [Written(*each) for each in entry["files"]]
                        yield entry

    def close(self) -> None:
        """Write what waits, and let go of the folder."""
        try:
            self.flush()
        finally:
            os.close(self._file)
            self._lock.release()

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
        path = self._folder / "job.json"
        wanted = json.loads(json.dumps(settings))
        if path.is_file() and not overwrite:
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise UserError(f"{path}: damaged; --overwrite begins anew") from None
            for key in sorted(found.keys() | wanted.keys()):
                if found.get(key) != wanted.get(key):
                    raise UserError(
                        f"{self.output}: holds results made with {key} {found.get(key)}, not "
                        f"{wanted.get(key)}; choose another --output, or --overwrite them"
                    )
        elif rank == 0:
            content = json.dumps(wanted, indent=1).encode()
            write_file(path, lambda file: file.write(content))

    def _forget(self, rank: int, size: int, *, everything: bool) -> None:
        """Remove failures of earlier starts, and with `everything` what they have done.

        Each process removes its own, and those of processes that are no more.
        """
        kinds = [(self.output, "failed")] + [(self._folder, "done")] * everything
        with _writing(self.output):
            for folder, kind in kinds:
                for path in folder.glob(f"{kind}*.jsonl"):
                    number = path.stem.removeprefix(kind).lstrip("-") or "0"
                    if number.isdecimal() and int(number) % size == rank:
                        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line that a file could not be written within."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
            "an output you may write to"
        ) from error


def _locked(path: Path, output: Path) -> FileLock:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{output}: another job is writing there; wait for it, or choose another --output"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise UserError(f"{output}: cannot be locked ({error}); choose a local folder") from None
    return lock


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
