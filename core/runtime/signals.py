"""Take Ctrl-C and SIGTERM as a request to finish the step, save and leave."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Set once a signal has come; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.name = ""

    def __bool__(self) -> bool:
        return bool(self.name)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Let the two signals within set the yielded request and do nothing else."""
    request = StopRequest()
    before = {number: signal.signal(number, request._handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
