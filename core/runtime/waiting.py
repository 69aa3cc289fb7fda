"""Work of rank 0 alone, such as an evaluation, for which the others wait however long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import torch.distributed as dist

from core.errors import UserError

BEAT_SECONDS = 10.0
"""Between two signs of life of rank 0."""
SILENCE_SECONDS = 600.0
"""Without a sign of life before the others give up: a machine that hangs or has lost its network.
A process that ends is noticed at once, by torchrun."""
_calls = 0


def on_main(work: Callable[[], None]) -> None:
    """Do `work` on rank 0; every process calls this, and all leave it together.

    A collective would do, but for its timeout: the other processes would take a long evaluation
    for a death, or with a timeout of hours a death for a long evaluation.

    Raises:
        UserError: off rank 0, if the work has failed there or nothing is heard of it.
    """
    global _calls  # noqa: PLW0603  (the same number in every process)
    if not dist.is_initialized():
        work()
        return
    _calls += 1
    store = dist.PrefixStore(f"on_main/{_calls}", dist.distributed_c10d._get_default_store())
    if dist.get_rank() == 0:
        _work_and_beat(store, work)
    else:
        _wait(store)


def _work_and_beat(store: dist.Store, work: Callable[[], None]) -> None:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            store.add("beats", 1)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        work()
        how = "done"
    except BaseException:
        how = "failed"
        raise
    finally:
        done.set()
        heart.join()
        store.set("end", how)


def _wait(store: dist.Store) -> None:
    beats, heard, pause = 0, time.monotonic(), 0.001
    while not store.check(["end"]):
        time.sleep(pause)
        pause = min(1.0, 2 * pause)
        if (now := store.add("beats", 0)) != beats:
            beats, heard = now, time.monotonic()
        if time.monotonic() - heard > SILENCE_SECONDS:
            raise UserError(
                f"process 0 has given no sign of life for {SILENCE_SECONDS:.0f} s; look at its "
                "machine, then --resume"
            )
    if store.get("end") != b"done":
        raise UserError("process 0 has failed; see its message")
