"""Many files at once in threads: Pillow decodes outside the interpreter lock."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from core.errors import UserError

T = TypeVar("T")


def in_threads(
    function: Callable[[int], T], count: int, label: str
) -> Generator[T | UserError, None, None]:
    """Yield `function(0)` .. `function(count - 1)` in order, with a progress bar on terminals.

    Where a call raises a `UserError`, that is yielded in its place. Calls run ahead of what is
    taken by a few dozen at most, so that results do not pile up. Close the iterator
    (`contextlib.closing`) to drop what has not begun, e.g. after an error.

    Args:
        function: Called in threads.
        count: Number of calls.
        label: Text of the progress bar.
    """

    def outcome(index: int) -> T | UserError:
        try:
            return function(index)
        except UserError as error:
            return error

    workers = min(16, (os.cpu_count() or 1) + 1)
    pool = ThreadPoolExecutor(workers)
    ahead = deque(pool.submit(outcome, index) for index in range(min(count, 4 * workers)))
    try:
        for index in tqdm(range(count), desc=label, leave=False, disable=None):
            result = ahead.popleft().result()
            if index + 4 * workers < count:
                ahead.append(pool.submit(outcome, index + 4 * workers))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def read_ahead(function: Callable[[int], T], count: int, label: str) -> Iterator[T]:
    """Yield as `in_threads`, and raise the first `UserError` in its place."""
    with contextlib.closing(in_threads(function, count, label)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, UserError):
                raise outcome
            yield outcome
