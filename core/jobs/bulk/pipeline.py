"""From items to results: workers read and write while the network is at work.

The main process alone runs the network and keeps the manifest. Pictures are read ahead by a few
batches, and results that wait to be written hold it up, so that memory does not depend on how many
pictures there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

from core.data.picture import Picture
from core.errors import UserError
from core.jobs.bulk import results
from core.jobs.bulk.digests import digest
from core.jobs.bulk.engines import Engine
from core.jobs.bulk.manifest import Manifest
from core.jobs.bulk.progress import Progress
from core.jobs.bulk.results import Encoding, OutputError
from core.jobs.bulk.sources import Item, Source, stem_of
from core.jobs.bulk.workers import Task, Workers

_WAITING_BATCHES = 4
"""Pictures whose sizes fill no batch wait for others, in all as many as in this many batches."""

Pair = tuple[Item, Picture]


class Pipeline:
    """One process's share of a job.

    Args:
        engine: what makes the results.
        output: the folder of results.
        encoding: what they are written as; its labels are the engine's.
        manifest: of the job.
        workers: that read and write.
        progress: that is told how it goes.
        ahead: pictures that are read ahead, and results that may wait to be written.
    """

    def __init__(
        self,
        engine: Engine,
        output: Path,
        encoding: Encoding,
        manifest: Manifest,
        workers: Workers,
        progress: Progress,
        ahead: int,
    ) -> None:
        self._engine, self._output, self._encoding = engine, output, encoding
        self._manifest, self._workers, self._progress = manifest, workers, progress
        self._ahead = ahead
        self._writing: deque[tuple[Item, Task[Any]]] = deque()

    def run(self, items: Iterable[Item | UserError]) -> None:
        """Make the results of all items that have none yet.

        An item that cannot be read, or made something of, is noted among the failures.

        Raises:
            OutputError: the output takes no more files; what was written is recorded.
        """
        try:
            for batch in self._batches(self._read(self._to_do(items))):
                self._make(batch)
                self._record(most_waiting=self._ahead)
            self._record(most_waiting=0)
        finally:
            for item, task in self._writing:  # those that are in place need not be made again
                if task.done:
                    self._finish(item, task)
            self._writing.clear()

    def _to_do(self, items: Iterable[Item | UserError]) -> Iterator[Item]:
        for item in items:
            if isinstance(item, UserError):
                self._fail("", item)
                continue
            stem = stem_of(item)
            names = self._encoding.names(stem)
            there = all((self._output / name).exists() for name in names)
            try:
                if self._manifest.claim(item.name, stem, there=there):
                    yield item
                else:
                    self._progress.skip()
            except UserError as error:
                self._fail(item.name, error)

    def _read(self, items: Iterator[Item]) -> Iterator[Pair]:
        """Give pictures in the order of their items, and let workers read the next ones."""
        reading: deque[tuple[Item, Task[Picture]]] = deque()
        for item in items:
            reading.append((item, self._workers.submit(results.read, item, self._engine.span)))
            if len(reading) > self._ahead:
                yield from self._taken(*reading.popleft())
        while reading:
            yield from self._taken(*reading.popleft())

    def _taken(self, item: Item, task: Task[Picture]) -> Iterator[Pair]:
        try:
            with self._progress.waiting_to_read():
                picture = task.result()
        except UserError as error:
            self._fail(item.name, error)
        else:
            yield item, picture

    def _batches(self, pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
        """Gather pictures that may share a pass."""
        waiting: dict[Hashable, list[Pair]] = {}
        for item, picture in pairs:
            key, limit = self._engine.key(picture), self._engine.limit(picture)
            if key is None:
                yield [(item, picture)]
                continue
            group = waiting.setdefault(key, [])
            group.append((item, picture))
            if len(group) >= limit:
                yield waiting.pop(key)
            elif sum(map(len, waiting.values())) > _WAITING_BATCHES * limit:
                yield waiting.pop(next(iter(waiting)))
        yield from waiting.values()

    def _make(self, batch: list[Pair]) -> None:
        """Run the network and give the results to the workers."""
        stems = [stem_of(item) for item, _ in batch]
        made = self._engine.run(stems, [picture for _, picture in batch])
        for (item, _), stem, result in zip(batch, stems, made, strict=True):
            if isinstance(result, UserError):
                self._fail(item.name, result)
            else:
                task = self._workers.submit(
                    results.write, self._output, stem, result, self._encoding
                )
                self._writing.append((item, task))

    def _record(self, most_waiting: int) -> None:
        """Note what is written, and wait until no more than so many are not."""
        while self._writing and (len(self._writing) > most_waiting or self._writing[0][1].done):
            with self._progress.waiting_to_write():
                self._finish(*self._writing.popleft())

    def _finish(self, item: Item, task: Task[Any]) -> None:
        try:
            self._manifest.record(item.name, stem_of(item), task.result())
            self._progress.advance()
        except OutputError:
            raise
        except UserError as error:
            self._fail(item.name, error)

    def _fail(self, name: str, error: UserError) -> None:
        """Note a picture, or without a name a place where there may be some."""
        self._manifest.fail(name, str(error))
        self._progress.fail(str(error))


def share(source: Source, rank: int, size: int) -> Iterator[Item | UserError]:
    """Give one process's part of a source's items: of its parts, or where it has one, of names.

    Which process has a name follows from the name alone, as two of the same stem must meet.
    """
    parts = iter(source.parts())
    first, second = next(parts, None), next(parts, None)
    if first is None:
        return
    if second is None:
        for item in source.items(first):
            shared = 0 if isinstance(item, UserError) else digest(stem_of(item))
            if shared % size == rank:
                yield item
        return
    for number, part in enumerate([first, second, *parts]):
        if number % size == rank:
            yield from source.items(part)
