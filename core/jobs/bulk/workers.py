"""Worker processes that read and write, and the work that is given to them."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from core.errors import UserError
from core.runtime.together import end_with_parent

T = TypeVar("T")
_ALONE = 3
"""Times that a piece of work is tried by itself after its process has died."""


def server() -> BaseContext:
    """Return what makes processes: not forks of this one, where threads and a GPU's driver are."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["core.jobs.bulk.results"])
    return context


class Workers:
    """Processes that do pieces of work in turn; without any, this one does each when asked for it.

    They know neither torch nor this process's memory. One that dies is replaced, and what was given
    to it and the others is done again.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, function: Callable[..., T], *args: Any) -> Task[T]:
        """Give a piece of work out: a function of a module, and arguments, that can be pickled."""
        return Task(self, function, args)

    def _start(self, function: Callable[..., T], args: tuple[Any, ...]) -> Future[T]:
        try:
            return self._ready().submit(function, *args)
        except BrokenProcessPool:  # noticed only now; see `Task.result`
            future: Future[T] = Future()
            future.set_exception(BrokenProcessPool())
            return future

    def _ready(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.number, server(), _begin)
        return self._pool

    def restart(self) -> None:
        """Begin with new processes; what the old ones had is lost."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restart()


class Task(Generic[T]):
    """A piece of work that was given out."""

    def __init__(self, workers: Workers, function: Callable[..., T], args: tuple[Any, ...]) -> None:
        self._workers, self._function, self._args = workers, function, args
        self._future = workers._start(function, args) if workers.number else None

    @property
    def done(self) -> bool:
        """Whether a worker is done with it."""
        return self._future is not None and self._future.done()

    def result(self) -> T:
        """Return what the function returned; wait for it.

        Raises:
            UserError: its process died again and again, also when it did nothing else.
            Exception: what the function raised.
        """
        if self._future is None:
            return self._function(*self._args)
        with contextlib.suppress(BrokenProcessPool):
            return self._future.result()
        # One of the pieces of work has killed its process, or somebody has. Each is done again by
        # itself: this one now, others when they are asked for, so that only the guilty one fails.
        for _ in range(_ALONE):
            self._workers.restart()
            self._future = self._workers._start(self._function, self._args)
            with contextlib.suppress(BrokenProcessPool):
                return self._future.result()
        raise UserError("the process that worked on it died, most often of too little memory")


def _begin() -> None:
    """Leave stopping to the main process, and end when it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
