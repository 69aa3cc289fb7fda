"""Work in a process of its own, so that the peak memory that it reports is its own."""

import contextlib
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from core.errors import UserError
from core.runtime.signals import stop_requests

T = TypeVar("T")
_LOOK_EVERY = 0.2
"""Seconds between two looks at whether to stop."""


def _serve(answer: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        try:
            answer.send(("done", work(*args)))
        except UserError as error:
            answer.send(("refused", str(error)))
        except torch.cuda.OutOfMemoryError as error:
            answer.send(("refused", f"out of GPU memory ({str(error).splitlines()[0]})"))


def run_in_subprocess(work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)`, computed in a fresh process; all of it travels by pickle.

    Ctrl-C and SIGTERM reach that process as SIGTERM; it may finish what it is at, as a training
    does by saving a checkpoint.

    Raises:
        UserError: what `work` raised, or its process ended without an answer.
        KeyboardInterrupt: a stop was asked for; the process has ended.
    """
    # Not forked: threads of torch, and memory that is not the child's own, would come along.
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, work, args))
    with stop_requests() as stop:
        process.start()
        theirs.close()
        told = False
        while not ours.poll(_LOOK_EVERY):
            if stop and not told:
                process.terminate()
                told = True
        try:
            kind, value = ours.recv()
        except EOFError:
            kind, value = "ended", None
        process.join()
    if stop:
        raise KeyboardInterrupt
    if kind == "refused":
        raise UserError(value)
    if kind == "ended":
        raise UserError(
            f"its process ended with code {process.exitcode} and no answer; a negative code is a "
            "signal, -9 most often too little memory"
        )
    return value
