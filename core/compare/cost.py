"""Measure what a method costs: parameters, and time and memory for one image."""

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
    """What a square image of `size` pixels a side costs."""

    size: int
    seconds: float
    """Median of the runs."""
    runs: int
    """How many there were, the first one not counted."""
    peak_memory_bytes: float
    """Most that was held until then: allocated on a GPU; on a CPU, by how much more was resident
    than before the networks were loaded."""
    made: tuple[int, int]
    """(width, height) of the result, which may be another than the input's."""


@dataclass(frozen=True)
class Cost:
    """What a method costs."""

    parameters: int
    """Of all its networks."""
    used: int
    """Of those that translate; the same where it is not known."""
    timings: tuple[Timing, ...]
    """By size, ascending."""
    device: str


def _once(translator: Loaded, size: int) -> tuple[int, int]:
    """Send one image of noise through the method; return (width, height) when it is done."""
    generator = torch.Generator().manual_seed(size)
    if isinstance(translator, StyleMethod):
        noise = torch.rand(2, 3, size, size, generator=generator).mul(255).byte()
        content, style = (to_pil(image) for image in noise)
        width, height = translator(content, style).size
    else:
        direction, device = translator.directions[0], translator.device
        channels = translator.channels(direction)[0]
        image = torch.rand(channels, size, size, generator=generator) * 2 - 1
        (result, *_) = translator.translations(image.to(device), direction, 1, seed=0)
        height, width = result.shape[-2:]
    if translator.device.type == "cuda":
        torch.cuda.synchronize(translator.device)
    return width, height


def _forget_peak() -> None:
    """Let Linux count resident memory anew: importing torch may have held more than the method."""
    with contextlib.suppress(OSError):  # elsewhere the peak of the imports stays
        Path("/proc/self/clear_refs").write_text("5")


def time_images(
    source: Source, device: torch.device, sizes: tuple[int, ...], repeats: int
) -> tuple[list[Timing], list[str]]:
    """Load and time a method, in a process of its own, whose memory is then the method's.

    Returns timings, and what a size was refused for.
    """
    _forget_peak()
    before = peak_memory_bytes(device)
    translator, timings, refused = source(), [], []
    for size in sorted(sizes):
        try:
            made = _once(translator, size)
            taken: list[float] = []
            while len(taken) < repeats and sum(taken) < _SECONDS:
                start = time.perf_counter()
                _once(translator, size)
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
    """Count and time a loaded method; return its cost, and what could not be measured.

    `source` loads it again, in the process in which it is timed, `repeats` times at each of the
    `sizes` in pixels.
    """
    if isinstance(translator, StyleMethod):
        parameters = used = translator.num_parameters
    else:
        networks = translator.family.networks
        counts = {n: sum(p.numel() for p in net.parameters()) for n, net in networks.items()}
        used = sum(counts.get(name, 0) for name in translator.family.ema_networks)
        parameters = translator.num_parameters
        used = used or parameters
    device = translator.device
    try:
        timings, problems = run_in_subprocess(time_images, source, device, sizes, repeats)
    except UserError as error:
        timings, problems = [], [f"not timed: {error}"]
    return Cost(parameters, used, tuple(timings), device_name(device)), problems
