"""Work for processes of their own; imports little, for they start from nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from core.runtime.signals import stop_requests


def stopped_from_outside(mark: str, caller: int) -> None:
    """Works until it is asked to stop; asks the calling process for that, as Ctrl-C would."""
    with stop_requests() as stop:
        os.kill(caller, signal.SIGINT)
        while not stop:
            time.sleep(0.01)
        Path(mark).write_text(stop.name)
