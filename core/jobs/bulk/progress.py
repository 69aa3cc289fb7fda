"""How far a job is, how fast it goes, and what it waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tqdm import tqdm

from core.errors import UserError


class Progress:
    """A bar on the terminal, and the account of the time.

    Args:
        shown: whether there is a bar, if stderr is a terminal.
        count: returns the number of pictures; it is called beside the work.
    """

    def __init__(self, *, shown: bool, count: Callable[[], int]) -> None:
        self._bar = tqdm(desc="translate", unit="image", disable=None if shown else True)
        if not self._bar.disable:
            threading.Thread(target=self._set_total, args=(count,), daemon=True).start()
        self._start = time.perf_counter()
        self._reading, self._writing, self._number = 0.0, 0.0, 0

    def _set_total(self, count: Callable[[], int]) -> None:
        with suppress(UserError, OSError):  # whoever walks for real says what is wrong
            self._bar.total = count()

    def advance(self) -> None:
        """Count a picture whose results are written."""
        self._number += 1
        self._bar.update()
        self._bar.set_postfix(self._shares(), refresh=False)

    def skip(self, number: int = 1) -> None:
        """Count pictures that were done before."""
        if not self._bar.disable:
            self._bar.initial += number  # so that they count for no speed
            self._bar.update(number)

    def fail(self, reason: str) -> None:
        """Say why a picture could not be made."""
        self._bar.write(f"left out: {reason}")
        self._bar.update()

    @contextmanager
    def waiting_to_read(self) -> Iterator[None]:
        """Count the time within as waiting for pictures."""
        start = time.perf_counter()
        yield
        self._reading += time.perf_counter() - start

    @contextmanager
    def waiting_to_write(self) -> Iterator[None]:
        """Count the time within as waiting for results to be written."""
        start = time.perf_counter()
        yield
        self._writing += time.perf_counter() - start

    def close(self) -> str:
        """Take the bar away, and return what there is to say of speed."""
        self._bar.close()
        seconds = time.perf_counter() - self._start
        waits = ", ".join(f"for {key} {value}" for key, value in self._shares().items())
        return (
            f"{self._number:,} images in {seconds:.0f} s, {self._number / seconds:.1f} a second; "
            f"waiting {waits}"
        )

    def _shares(self) -> dict[str, str]:
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return {
            "reading": f"{self._reading / seconds:.0%}",
            "writing": f"{self._writing / seconds:.0%}",
        }
