"""Scripts in processes of their own, forked from one that has loaded torch already.

Starting Python and loading torch takes seconds; a fork of a server that has done so takes none.
Tests in which the start itself matters run `python scripts/...` instead.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.distributed import TCPStore

T = TypeVar("T")
NUM_RANKS = 2
_TIMEOUT = 300.0
SERVER = get_context("spawn" if sys.platform == "win32" else "forkserver")
"""Makes processes as `spawn` does: with nothing of this one, but with torch loaded."""
# A name that cannot be imported is passed over in silence: the fork then imports it itself.
SERVER.set_forkserver_preload(
    [
        *("core.training.trainer", "cyclegan.family", "dcgan.family", "drit.family"),
        *("munit.family", "tests.fixed_ways"),
    ]
)


@dataclass(frozen=True)
class Done:
    """What a script left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Script = Callable[..., Done]


def call_elsewhere(work: Callable[..., T], *args: Any) -> T:
    """Call `work(*args)` in another process, which then ends."""
    with ProcessPoolExecutor(1, SERVER) as pool:
        return pool.submit(work, *args).result(_TIMEOUT)


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Within, no file can be written beyond a size, as if the disk were full."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _serve(name: str, args: list[str], variables: dict[str, str], output: Path) -> None:
    """Be one rank: call the script's `main` with stdout and stderr in files."""
    os.environ.update(variables)
    torch.set_num_threads(1)
    for stream, suffix in ((sys.stdout, ".out"), (sys.stderr, ".err")):
        stream.flush()
        with output.with_suffix(suffix).open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(importlib.import_module(f"scripts.{name}").main(args))


def run_ranks(folder: Path, name: str, *args: object) -> Done:
    """Run `scripts/NAME.py ARGS...` in two gloo processes, with the variables that torchrun sets.

    Args:
        folder: an existing one, for what the processes print.
        name: of the script.
        args: of its command line.

    Returns:
        The largest exit code, and what the processes printed, in the order of their ranks.
    """
    # As under torchrun the store is the parent's, so that no port is chosen before it is in use.
    store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=_TIMEOUT))
    shared = {
        "WORLD_SIZE": str(NUM_RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    words = [str(arg) for arg in args]
    outputs = [folder / f"rank{rank}" for rank in range(NUM_RANKS)]
    processes = [
        SERVER.Process(
            target=_serve,
            args=(name, words, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, output),
        )
        for rank, output in enumerate(outputs)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(_TIMEOUT)
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    out, err = (
        "".join(output.with_suffix(suffix).read_text() for output in outputs)
        for suffix in (".out", ".err")
    )
    assert None not in codes, f"not done after {_TIMEOUT:g} s\n{out}\n{err}"
    return Done(max(abs(code or 0) for code in codes), out, err)
