"""The pipeline on a cluster, by Ray Data: walk and read, an actor pool of networks, write.

Workers do with a picture what `core.jobs.bulk.pipeline` does, by the same functions, and this
process alone keeps the manifest; so a job may change between both. Rows are pickled: an item with
its picture, its results, what was written, or the error that stopped it, which costs no other
picture. Ray starts actors that die again.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from core.data.picture import Picture
from core.errors import UserError
from core.jobs.bulk.manifest import Manifest
from core.jobs.bulk.outputs import Output
from core.jobs.bulk.pipeline import share
from core.jobs.bulk.progress import Progress
from core.jobs.bulk.results import OutputError
from core.jobs.bulk.sources import Item, Source, stem_of
from core.options import Span
from core.runtime.signals import StopRequest

if TYPE_CHECKING:  # those that read and write are spared torch
    from core.jobs.bulk.engines import Engine

_ROWS = 32
"""Items that are walked, read or written by one call."""
_BLOCK_BYTES = 2**24
"""Pictures that travel together, and are recorded together; with Ray's own 128 MiB those that a
killed driver has not recorded would be hundreds."""
_MOST_WALKS = 64
"""Times that a folder or a list is walked, each time for a share of its names."""
_TRIES = 4
"""Times that a batch is tried when its actor dies; Ray's default is for ever."""

Batch = Mapping[str, Sequence[Any]]


class ClusterPipeline:
    """A job on a cluster.

    Args:
        make_engine: makes the engine in each actor, on a GPU if it has one; it can be pickled.
        span: how inputs are read.
        output: where results go; all machines see it, and what the source reads.
        manifest: of the job.
        progress: that is told how it goes.
        stop: once it is true, nothing more is recorded.
        address: of a Ray cluster; None starts one on this machine.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        span: Span | None,
        output: Output,
        manifest: Manifest,
        progress: Progress,
        stop: StopRequest,
        address: str | None,
    ) -> None:
        self._make_engine, self._span, self._output = make_engine, span, output
        self._manifest, self._progress, self._stop = manifest, progress, stop
        self._ray = _connected(address)

    def run(self, source: Source) -> None:
        """Make the results of all items that have none yet.

        An item that cannot be read, or made something of, is noted among the failures.

        Raises:
            OutputError: the output takes no more.
            UserError: an actor dies again and again.
        """
        self._progress.skip(self._manifest.num_done)
        try:
            for batch in self._rows(source).iter_batches(batch_size=None, batch_format="numpy"):
                for item, made in map(pickle.loads, batch["row"]):
                    self._record(item, made)
                if self._stop:
                    return
        except self._ray.exceptions.RayActorError as error:
            raise UserError(
                "--engine ray: an actor died again and again, most often of too little memory; "
                f"--batch-size 1 and --tile take less ({error})"
            ) from error

    def _rows(self, source: Source) -> Any:
        """Return the data set of rows of what was written."""
        data, found = self._ray.data, self._ray.cluster_resources()
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = _BLOCK_BYTES
        num_cpus, num_gpus = int(found["CPU"]), int(found.get("GPU", 0))
        num_walks = min(num_cpus, _MOST_WALKS)
        done = self._ray.put(self._manifest)
        # A pool that took every core would leave none to read and write.
        num_actors = num_gpus or max(1, num_cpus - max(1, num_cpus // 8))
        walk = _Walk(source, self._output, done, num_walks)
        numbers = data.range(num_walks, override_num_blocks=num_walks)
        read = numbers.map_batches(walk, batch_size=1).map_batches(
            _Read(self._span), batch_size=_ROWS
        )
        with warnings.catch_warnings():  # Ray has no other way yet to give the number of tries
            warnings.simplefilter("ignore", DeprecationWarning)
            made = read.map_batches(
                _Network,
                fn_constructor_args=(self._make_engine,),
                batch_size=_ROWS,
                num_gpus=1 if num_gpus else 0,
                compute=data.ActorPoolStrategy(size=num_actors),
                max_task_retries=_TRIES,
            )
        return made.map_batches(_Write(self._output), batch_size=_ROWS)

    def _record(self, item: Item | None, made: Any) -> None:
        name = item.name if item else ""
        try:
            if isinstance(made, UserError):
                raise made
            assert item is not None
            written = self._output.keep(item, made)
            self._manifest.record(name, stem_of(item), written)
            self._progress.advance()
        except OutputError:
            raise
        except UserError as error:
            self._manifest.fail(name, str(error))
            self._progress.fail(str(error))


def _connected(address: str | None) -> Any:
    """Return Ray, connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data  # noqa: PLC0415
    except ImportError:
        raise UserError("--engine ray: needs Ray: pip install -e '.[cluster]'") from None
    if not ray.is_initialized():
        try:
            # Without an address Ray would join whatever cluster was started here last.
            ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--address {address}: no Ray cluster to join ({error})") from None
    for name in ("ray", "ray.data"):  # they write traces of what is raised as well
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def _rows(pairs: Iterable[tuple[Item | None, Any]]) -> dict[str, list[bytes]]:
    return {"row": [pickle.dumps(pair) for pair in pairs]}


@dataclass(frozen=True)
class _Walk:
    """From the number of a share to its items that are to be done, and errors."""

    source: Source
    output: Output
    done: Any
    """The manifest, as a reference of Ray's."""
    size: int

    def __call__(self, batch: Batch) -> Iterator[dict[str, list[bytes]]]:
        import ray  # noqa: PLC0415

        manifest: Manifest = ray.get(self.done)
        for rank in map(int, batch["id"]):
            pairs = self._share(rank, manifest)
            while part := list(islice(pairs, _ROWS)):
                yield _rows(part)

    def _share(self, rank: int, manifest: Manifest) -> Iterator[tuple[Item | None, Any]]:
        for item in share(self.source, self.output, rank, self.size):
            if isinstance(item, UserError):
                yield None, item
            elif not self.output.is_done(item, manifest):
                try:
                    manifest.claim(item.name, stem_of(item))
                    yield item, None
                except UserError as error:
                    yield item, error


class _Step:
    """A function of a picture that errors of earlier steps pass by."""

    def __call__(self, batch: Batch) -> dict[str, list[bytes]]:
        return _rows(map(self._try, map(pickle.loads, batch["row"])))

    def _try(self, pair: tuple[Item, Any]) -> tuple[Item, Any]:
        item, made = pair
        if isinstance(made, UserError):
            return pair
        try:
            return item, self.do(item, made)
        except UserError as error:
            return item, error

    def do(self, item: Item, made: Any) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class _Read(_Step):
    span: Span | None

    def do(self, item: Item, made: Any) -> Picture:
        return item.read(self.span)


@dataclass(frozen=True)
class _Write(_Step):
    output: Output

    def do(self, item: Item, made: Sequence[Picture]) -> Any:
        work, arguments = self.output.work(item, made)
        return work(*arguments)


class _Network:
    """An actor: from pictures to results, by an engine of its own."""

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        self._engine = make_engine()

    def __call__(self, batch: Batch) -> dict[str, list[bytes]]:
        pairs = [pickle.loads(row) for row in batch["row"]]
        passes: dict[Hashable, list[tuple[Item, Picture]]] = {}
        for number, (item, made) in enumerate(pairs):
            if isinstance(made, Picture):
                key = self._engine.key(made)
                passes.setdefault(number if key is None else (key,), []).append((item, made))
        done = [pair for pair in pairs if not isinstance(pair[1], Picture)]
        for group in passes.values():
            limit = self._engine.limit(group[0][1])
            for start in range(0, len(group), limit):
                items, pictures = zip(*group[start : start + limit], strict=True)
                done += zip(items, self._engine.run([*map(stem_of, items)], pictures), strict=True)
        return _rows(done)
