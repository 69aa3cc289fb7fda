"""Iterations of neural style, plain against fast, in one run; see `core.training.benchmark`."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.training.benchmark import has_fast_bf16, interleaved, machine
from style.neural.config import Config, Run
from style.neural.networks import make_encoder
from style.neural.objective import WHOLE
from style.neural.stylizer import NeuralStyle


def fast_run(device: torch.device) -> Run:
    """Choose options that leave the objective as it is.

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
    """Descent at the last scale, on noise; neither images nor weights matter to the time."""

    def __init__(self, config: Config, run: Run, device: torch.device) -> None:
        self.device = device
        torch.manual_seed(0)
        encoder, scale = make_encoder(config.model, trained=False), config.scales[-1]
        noise = np.random.default_rng(0).integers(0, 256, (scale.size * 3 // 4, scale.size, 3))
        image = Image.fromarray(noise.astype(np.uint8))
        stylizer = NeuralStyle(config.model_copy(update={"run": run}), encoder, device)
        num_styles = len(config.image.style_blend_weights or (1.0,))
        classes = [WHOLE] * (1 + num_styles)
        self._descent = stylizer.descent(image, [image] * num_styles, classes, scale)

    def measure(self, rounds: int) -> dict[str, float]:
        """Measure seconds per iteration."""
        start = time.perf_counter()
        for _ in range(rounds):
            terms = self._descent.step()
        float(sum(terms.values()))  # waits for the device
        return {"seconds_per_iteration": (time.perf_counter() - start) / rounds}


def benchmark_iterations(
    config: Config, device: torch.device, repeats: int, steps: int, fast: Run | None = None
) -> dict[str, Any]:
    """Measure iterations of both paths at the config's last scale.

    Each path has `repeats` turns of `steps` iterations; the fast one is by default `fast_run`.

    Returns:
        What `core.training.benchmark.interleaved` finds, the options of the fast path and the size.
    """
    fast = (fast or fast_run(device)).on(device.type)
    runs = {"plain": Run(speed="off"), "fast": fast}
    starts = {name: partial(Iterations, config, run, device) for name, run in runs.items()}
    return {
        **machine(device),
        "fast_options": fast.model_dump(),
        "size": config.scales[-1].size,
        **interleaved(starts, repeats, steps),
    }
