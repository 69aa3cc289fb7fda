"""Processes that share a job without waiting for each other, under torchrun.

torchrun ends all processes as soon as one of them dies or returns an exit code that is not 0. So
each of its processes only watches one that works: if that dies it is named, and the exit code is
kept back until the others are done. How they are doing locks say, which a process that ends lets
go of, however it ends; nobody waits for a message.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core.errors import UserError
from core.runtime import cli


def place() -> tuple[int, int]:
    """Return this process's number and how many there are, by torchrun's environment."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")) if size > 1 else 0), size


def locked(path: Path, output: object) -> FileLock:
    """Hold a file as long as this process lives, or until the lock is released.

    Raises:
        UserError: another process holds it, so that another job writes to `output`; or the folder
            cannot be written, or knows no locks.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{output}: another job is writing there; wait for it, or choose another --output"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise UserError(f"{path}: cannot be locked ({error}); choose another --output") from None
    return lock


def guard(work: Callable[[cli.Args], int], args: cli.Args, locks: Path | None) -> int:
    """Let a process of its own do the work if this is one of several; otherwise do it here.

    Args:
        work: returns an exit code.
        args: of the command line, for `work`, `output` among them.
        locks: folder in which processes see each other; None if there is none, so that torchrun
            ends them all with one that dies.

    Returns:
        The exit code of the work, once no other process is at work if it is not 0.
    """
    rank, size = place()
    if size == 1 or locks is None:
        return work(args)
    locks.mkdir(parents=True, exist_ok=True)
    with locked(locks / f"process-{rank:05d}", args.output):
        # Nothing but this file is loaded yet, no thread runs: a fork is safe, and takes no time.
        kind = "fork" if sys.platform == "linux" else "spawn"
        context: Any = multiprocessing.get_context(kind)
        child = context.Process(target=_serve, args=(work, args))
        child.start()
        with _passing_on(child) as stopped:
            child.join()
        code = child.exitcode or 0
        if code < 0:
            print(
                f"error: process {rank} of {size} died of signal {-code} "
                f"({signal.Signals(-code).name}); the others go on, and the next start does its "
                "share",
                file=sys.stderr,
            )
            code = 1
    if code and not stopped:
        for other in range(size):
            with FileLock(locks / f"process-{other:05d}", poll_interval=0.5):
                pass
    return code


@contextmanager
def _passing_on(child: BaseProcess) -> Iterator[list[int]]:
    """Give SIGTERM on to the child, which a terminal sends Ctrl-C itself; note both."""
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        if number == signal.SIGTERM:
            child.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it has, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "started by multiprocessing"

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _serve(work: Callable[[cli.Args], int], args: cli.Args) -> None:
    end_with_parent()
    sys.exit(cli.attend(work, args))
