"""Iterations of neural style, plain against fast, in one run; see `core.benchmark`."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from core.benchmark import has_fast_bf16, machine
from core.progress import peak_memory_bytes
from style.neural.config import Config, Run
from style.neural.descent import Descent
from style.neural.networks import arrange, untrained_encoder
from style.neural.objective import Objective, Picture

_WARM_UP = 2


def fast_run(device: torch.device) -> Run:
    """Options that leave the objective as it is: layout, one compiled graph, bf16 in hardware."""
    half = has_fast_bf16(device)
    return Run(precision="bf16" if half else "fp32", channels_last=True, compile=True)


def _descent(config: Config, run: Run, device: torch.device) -> Descent:
    """At the first scale, on noise; neither images nor weights matter to the time."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    encoder = untrained_encoder(config.model)
    arrange(encoder, run, device)
    side = config.scales[0].size

    def image(height: int, width: int) -> Tensor:
        return 60 * torch.randn(1, 3, height, width, generator=generator).to(device)

    content = image(side * 3 // 4, side)
    objective = Objective(
        encoder,
        config.loss,
        Picture(content),
        [Picture(image(side, side * 3 // 4))],
        [1.0],
        config.model.content_layers,
        config.model.style_layers,
        torch.bfloat16 if run.precision == "bf16" else None,
    )
    if run.compile:
        objective.compile()
    return Descent(content, objective, config.optim)


def benchmark_iterations(
    config: Config, device: torch.device, repeats: int, steps: int, fast: Run | None = None
) -> dict[str, Any]:
    """Interleaved iterations of both paths at the config's first scale.

    Args:
        config: encoder, layers, weights, optimizer, size.
        device: where.
        repeats: interleaved repeats of each path.
        steps: iterations per repeat.
        fast: the fast path; default: `fast_run`.

    Returns:
        Medians in seconds per iteration, their ratio, and peak memory after each path's first
        iterations, plain first (on a CPU it is the process's and can only grow).
    """
    paths: dict[str, Descent] = {}
    peaks: dict[str, float] = {}

    def run(name: str, number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            terms = paths[name].step()
        float(sum(terms.values()))  # waits for the device
        return (time.perf_counter() - start) / number

    fast = fast or fast_run(device)
    for name, options in (("plain", Run()), ("fast", fast)):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        paths[name] = _descent(config, options, device)
        run(name, _WARM_UP)
        peaks[name] = peak_memory_bytes(device)
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in tqdm(range(repeats), desc="repeats"):
        for name in paths:
            seconds[name].append(run(name, steps))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        **machine(device),
        "fast_options": fast.model_dump(),
        "size": config.scales[0].size,
        "seconds_per_iteration": medians,
        "all_seconds": seconds,
        "ratio": medians["plain"] / medians["fast"],
        "peak_memory_bytes": peaks,
    }
