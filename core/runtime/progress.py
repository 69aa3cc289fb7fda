"""How fast a run goes and how much memory it takes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

if sys.platform != "win32":
    import resource


class Window:
    """Speed and data-wait share since the last log line; `step` steps are done when it opens."""

    def __init__(self, step: int) -> None:
        self._step, self._start, self._wait = step, time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within as waiting for data."""
        start = time.perf_counter()
        yield
        self._wait += time.perf_counter() - start

    def finish(self, step: int) -> tuple[float, float]:
        """Return steps per second, and the share of the time spent waiting for data."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return (step - self._step) / seconds, self._wait / seconds


def device_name(device: torch.device) -> str:
    """Name a device as a reader knows it: the GPU's model, or the number of CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory_bytes(device: torch.device) -> float:
    """Return most bytes held so far: allocated on the GPU, or resident on the CPU (0: unknown)."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0.0
    with suppress(OSError, StopIteration):
        # Linux: unlike ru_maxrss not inherited from the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(kilobytes if sys.platform == "darwin" else kilobytes * 1024)
