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
_ATTEMPTS = 3
"""Times that work is given out, or tried alone after its process has died."""


def server() -> BaseContext:
    """Return what makes processes: not forks of this one, where threads and a GPU's driver are."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["core.jobs.bulk.results"])
    return context


class Workers:
    """Processes that do pieces of work in turn; without any, this one does each when asked for it.

    They know neither torch nor this process's memory. Where one dies all are replaced, and what
    they had been given is done again, each piece alone in a process of its own.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._pool: ProcessPoolExecutor | None = None
        self._alone: ProcessPoolExecutor | None = None
        """One process, for work that was lost; there after the first death."""

    def submit(self, function: Callable[..., T], *args: Any) -> Task[T]:
        """Give a piece of work out: a function of a module, and arguments, that can be pickled."""
        return Task(self, function, args)

    def _start(self, function: Callable[..., T], args: tuple[Any, ...]) -> Future[T]:
        for _ in range(_ATTEMPTS):
            if self._pool is None:
                self._pool = _processes(self.number)
            try:
                return self._pool.submit(function, *args)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False)
                self._pool = None
        future: Future[T] = Future()
        future.set_exception(BrokenProcessPool())  # then it is tried alone
        return future

    def do_alone(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Do a piece of work in a process that has nothing else to do.

        Raises:
            BrokenProcessPool: the process has died, so of this work.
            Exception: what the function raised.
        """
        if self._alone is None:
            self._alone = _processes(1)
        try:
            return self._alone.submit(function, *args).result()
        except BrokenProcessPool:
            self._alone.shutdown(wait=False)
            self._alone = None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pool in (self._pool, self._alone):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._alone = None


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
        # This work has killed its process, or other work or somebody has: alone it shows.
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(BrokenProcessPool):
                return self._workers.do_alone(self._function, self._args)
        raise UserError("the process that worked on it died, most often of too little memory")


def _processes(number: int) -> ProcessPoolExecutor:
    """Make processes, not forked from here, where threads of torch and a GPU's driver may be."""
    kind = "spawn" if sys.platform == "win32" else "forkserver"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload(["core.jobs.bulk.results"])
    return ProcessPoolExecutor(number, context, _begin)


def _begin() -> None:
    """Leave stopping to the main process, and end when it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
