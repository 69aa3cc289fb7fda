"""From items to results: workers read and write while the network is at work.

The main process alone runs the network and keeps the manifest. Pictures are read ahead by a few
batches, and results that wait to be written hold it up, so that memory does not depend on how many
pictures there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from core.data.picture import Picture
from core.errors import UserError
from core.jobs.bulk import results
from core.jobs.bulk.manifest import Manifest
from core.jobs.bulk.outputs import Output
from core.jobs.bulk.progress import Progress
from core.jobs.bulk.results import OutputError
from core.jobs.bulk.sources import Item, Source, stem_of
from core.jobs.bulk.workers import Task, Workers
from core.runtime.signals import StopRequest

if TYPE_CHECKING:  # what workers of a cluster import knows no torch
    from core.jobs.bulk.engines import Engine

_WAITING_BATCHES = 4
"""Pictures whose sizes fill no batch wait for others, in all as many as in this many batches."""

Pair = tuple[Item, Picture]


class Pipeline:
    """One process's share of a job.

    Args:
        engine: what makes the results.
        output: where they go.
        manifest: of the job.
        workers: that read and write.
        progress: that is told how it goes.
        stop: once it is true, nothing new is begun.
    """

    def __init__(
        self,
        engine: Engine,
        output: Output,
        manifest: Manifest,
        workers: Workers,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self._engine, self._output = engine, output
        self._manifest, self._workers, self._progress = manifest, workers, progress
        self._stop, self._largest_batch = stop, 1
        self._writing: deque[tuple[Item, Task[Any]]] = deque()

    @property
    def _ahead(self) -> int:
        """Pictures that are read ahead, and results that may wait to be written."""
        return 2 * (self._largest_batch + self._workers.number)

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
            with suppress(OutputError):  # what is in place need not be made again
                for item, task in self._writing:
                    if task.done:
                        self._finish(item, task)
            self._writing.clear()

    def _to_do(self, items: Iterable[Item | UserError]) -> Iterator[Item]:
        for item in items:
            if isinstance(item, UserError):
                self._fail("", item)
                continue
            if self._stop:
                return
            if self._output.is_done(item, self._manifest):
                self._progress.skip()
                continue
            try:
                self._manifest.claim(item.name, stem_of(item))
                yield item
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
            self._largest_batch = max(self._largest_batch, limit)
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
        for (item, _), result in zip(batch, made, strict=True):
            if isinstance(result, UserError):
                self._fail(item.name, result)
            else:
                work, arguments = self._output.work(item, result)
                self._writing.append((item, self._workers.submit(work, *arguments)))

    def _record(self, most_waiting: int) -> None:
        """Note what is written, and wait until no more than so many are not."""
        while self._writing and (len(self._writing) > most_waiting or self._writing[0][1].done):
            with self._progress.waiting_to_write():
                self._finish(*self._writing.popleft())

    def _finish(self, item: Item, task: Task[Any]) -> None:
        try:
            written = self._output.keep(item, task.result())
            self._manifest.record(item.name, stem_of(item), written)
            self._progress.advance()
        except OutputError:
            raise
        except UserError as error:
            self._fail(item.name, error)

    def _fail(self, name: str, error: UserError) -> None:
        """Note a picture, or without a name a place where there may be some."""
        self._manifest.fail(name, str(error))
        self._progress.fail(str(error))


def share(source: Source, output: Output, rank: int, size: int) -> Iterator[Item | UserError]:
    """Give one process's part of a source's items: of its parts, or where it has one, of names.

    Which process has a name follows from the name alone, whatever else is there.
    """
    parts = source.parts()
    if len(parts) == 1:
        for item in source.items(parts[0]):
            number = 0 if isinstance(item, UserError) else output.bucket(item)
            if number % size == rank:
                yield item
        return
    for part in parts[rank::size]:
        yield from source.items(part)
