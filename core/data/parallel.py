"""Many files at once in threads: Pillow decodes outside the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from core.errors import UserError

T = TypeVar("T")


def in_threads(
    function: Callable[[int], T], count: int, label: str
) -> Generator[T | UserError, None, None]:
    """Yield `function(0)` .. `function(count - 1)` in order, with a progress bar on terminals.

    Where a call raises a `UserError`, that is yielded in its place. Close the iterator
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

    pool = ThreadPoolExecutor(min(16, (os.cpu_count() or 1) + 1))
    try:
        results = pool.map(outcome, range(count))
        yield from tqdm(results, desc=label, total=count, leave=False, disable=None)
    finally:
        pool.shutdown(cancel_futures=True)
