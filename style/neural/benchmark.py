"""Iterations of neural style, plain against fast, in one run; see `core.training.benchmark`."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.training.benchmark import has_fast_bf16, interleaved, machine
from style.neural.config import Config, Run
from style.neural.descent import Descent
from style.neural.networks import arrange, untrained_encoder
from style.neural.objective import Objective, Picture


def fast_run(device: torch.device) -> Run:
    """Options that leave the objective as it is.

    bf16 and one compiled graph in hardware with fast bf16; else minimal filtering.
    """
    half = has_fast_bf16(device)
    return Run(
        precision="bf16" if half else "fp32",
        channels_last=True,
        winograd=not half,
        keep_memory=True,
        compile=half,
    )


class Iterations:
    """Descent at the first scale, on noise; neither images nor weights matter to the time.

    Args:
        config: encoder, layers, weights, optimizer, size.
        run: how the encoder runs.
        device: where.
    """

    def __init__(self, config: Config, run: Run, device: torch.device) -> None:
        self.device = device
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
        self._descent = Descent(content, objective, config.optim)

    def measure(self, rounds: int) -> dict[str, float]:
        """Seconds per iteration."""
        start = time.perf_counter()
        for _ in range(rounds):
            terms = self._descent.step()
        float(sum(terms.values()))  # waits for the device
        return {"seconds_per_iteration": (time.perf_counter() - start) / rounds}


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
        What `core.training.benchmark.interleaved` finds, the options of the fast path and the size.
    """
    fast = fast or fast_run(device)
    runs = {"plain": Run(), "fast": fast}
    starts = {name: partial(Iterations, config, run, device) for name, run in runs.items()}
    return {
        **machine(device),
        "fast_options": fast.model_dump(),
        "size": config.scales[0].size,
        **interleaved(starts, repeats, steps),
    }
