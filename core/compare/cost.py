"""What a method costs: parameters, and time and memory for one image."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from core.compare.style_method import StyleMethod
from core.errors import UserError
from core.inference.translator import Translator
from core.report.pictures import to_pil
from core.runtime.processes import run_in_subprocess
from core.runtime.progress import device_name, peak_memory_bytes

Loaded = Translator | StyleMethod
Source = Callable[[], Loaded]
"""Loads a method, here or in another process."""
_SECONDS = 8.0
"""No further run of a slow method is begun after so long."""


@dataclass(frozen=True)
class Timing:
    """What an image of one size costs.

    Attributes:
        size: pixels; side of the square image.
        seconds: median of the runs.
        runs: how many there were, the first one not counted.
        peak_memory_bytes: most that was held until then: allocated on a GPU; on a CPU, by how much
            more was resident than before the networks were loaded.
        made: (width, height) of the result, which may be another than the input's.
    """

    size: int
    seconds: float
    runs: int
    peak_memory_bytes: float
    made: tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """What a method costs.

    Attributes:
        parameters: of all its networks.
        used: of those that translate; the same where it is not known.
        timings: by size, ascending.
        device: on which.
    """

    parameters: int
    used: int
    timings: tuple[Timing, ...]
    device: str


def _once(translator: Loaded, size: int) -> tuple[int, int]:
    """Send one image of noise through the method; return (width, height) of the result."""
    generator = torch.Generator().manual_seed(size)
    if isinstance(translator, StyleMethod):
        noise = torch.rand(2, 3, size, size, generator=generator).mul(255).byte()
        content, style = (to_pil(image) for image in noise)
        return translator(content, style).size
    direction = translator.directions[0]
    channels = translator.channels(direction)[0]
    image = torch.rand(channels, size, size, generator=generator) * 2 - 1
    (result, *_) = translator.translations(image.to(translator.device), direction, 1, seed=0)
    height, width = result.shape[-2:]
    return width, height


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak() -> None:
    """Let Linux count resident memory anew: importing torch may have held more than the method."""
    with contextlib.suppress(OSError):  # elsewhere the peak of the imports stays
        Path("/proc/self/clear_refs").write_text("5")


def time_images(
    source: Source, device: torch.device, sizes: tuple[int, ...], repeats: int
) -> tuple[list[Timing], list[str]]:
    """Load and time a method, in a process of its own, whose memory is then the method's.

    Returns:
        Timings, and what a size was refused for.
    """
    _forget_peak()
    before = peak_memory_bytes(device)
    translator, timings, refused = source(), [], []
    for size in sorted(sizes):
        try:
            made = _once(translator, size)
            _wait(device)
            taken: list[float] = []
            while len(taken) < repeats and sum(taken) < _SECONDS:
                start = time.perf_counter()
                _once(translator, size)
                _wait(device)
                taken.append(time.perf_counter() - start)
        except UserError as error:
            refused.append(f"not timed at {size} px: {error}")
            continue
        memory = peak_memory_bytes(device) - before
        timings.append(Timing(size, statistics.median(taken), len(taken), memory, made))
        if made != (size, size):
            refused.append(f"makes {made[0]}x{made[1]} px of {size}x{size} px")
    return timings, refused


def measure_cost(
    source: Source, translator: Loaded, sizes: tuple[int, ...], repeats: int
) -> tuple[Cost, list[str]]:
    """Count and time a loaded method.

    Args:
        source: loads it again, in the process in which it is timed.
        translator: the method.
        sizes: of the images, in pixels.
        repeats: runs at each size.

    Returns:
        The cost, and what could not be measured.
    """
    if isinstance(translator, StyleMethod):
        parameters = used = translator.num_parameters
    else:
        networks = translator.family.networks
        counts = {n: sum(p.numel() for p in net.parameters()) for n, net in networks.items()}
        parameters = sum(counts.values())
        used = sum(counts.get(name, 0) for name in translator.family.ema_networks) or parameters
    device = translator.device
    try:
        timings, problems = run_in_subprocess(time_images, source, device, sizes, repeats)
    except UserError as error:
        timings, problems = [], [f"not timed: {error}"]
    return Cost(parameters, used, tuple(timings), device_name(device)), problems
