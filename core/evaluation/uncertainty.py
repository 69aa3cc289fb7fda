"""How far FID and KID of so few images can be trusted: their spread, and FID's bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.evaluation.metrics.fid import Gaussian, frechet_distance
from core.evaluation.metrics.kid import kernel

LEVEL = 0.95
"""Of the intervals."""
_KERNEL_ROWS = 3000


@dataclass(frozen=True)
class Interval:
    """Where a value would lie, were other images of the same kind measured."""

    low: float
    high: float


def _around(value: float, draws: Sequence[float], shrink: float = 1.0) -> Interval:
    """Return the interval of draws with replacement, centred on the value that was measured.

    Repetitions move every draw to one side (a resampled set has fewer different images), and their
    mean with it, not their spread.
    """
    spread = torch.tensor(draws, dtype=torch.float64)
    tail = (1 - LEVEL) / 2
    ends = (spread - spread.mean()).quantile(spread.new_tensor([tail, 1 - tail])) * shrink
    low, high = (value + ends).tolist()
    return Interval(low, high)


def frechet_interval(fakes: Tensor, reals: Tensor | Gaussian, value: float, times: int) -> Interval:
    """Return the interval of FID by resampling both sets, or the fakes where reals are moments."""
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(times):
        sets = [fakes] if isinstance(reals, Gaussian) else [fakes, reals]
        x, *y = [
            Gaussian.of(each[torch.randint(len(each), (len(each),), generator=generator)])
            for each in sets
        ]
        draws.append(x.distance(reals if isinstance(reals, Gaussian) else y[0]))
    return _around(value, draws)


def kernel_interval(fakes: Tensor, reals: Tensor, value: float, times: int) -> Interval:
    """Return the interval of KID by resampling both sets.

    Each draw weighs the features by how often they were drawn, and compares none with itself. Of
    larger sets 3000 features are resampled, and the interval is narrowed as that of all would be.
    """
    generator = torch.Generator().manual_seed(0)
    x, y = (
        each[torch.randperm(len(each), generator=generator)[:_KERNEL_ROWS]].double()
        for each in (fakes, reals)
    )
    within, across = [kernel(each, each).fill_diagonal_(0) for each in (x, y)], kernel(x, y)
    draws = []
    for _ in range(times):
        counts = [
            torch.randint(len(each), (len(each),), generator=generator).bincount(
                minlength=len(each)
            )
            for each in (x, y)
        ]
        a, b = (count.double() for count in counts)
        inside = [w @ k @ w / (w.sum() ** 2 - w @ w) for w, k in zip((a, b), within, strict=True)]
        draws.append(float(sum(inside) - 2 * (a @ across @ b) / (a.sum() * b.sum())))
    shrink = (min(len(x), len(y)) / min(len(fakes), len(reals))) ** 0.5
    return _around(value, draws, shrink)


def frechet_bias(fakes: Tensor, reals: Tensor) -> float:
    """Measure by how much FID of so many images exceeds that of endlessly many.

    The bias falls as one over the number of images (Chong and Forsyth 2020, "Effectively Unbiased
    FID"), so that FID of halves exceeds FID of the wholes by as much again. The mean over the two
    halves is taken; it is an estimate, and may be below 0.

    Raises:
        ValueError: a set of fewer than four.
    """
    generator = torch.Generator().manual_seed(0)
    halves = [
        features[torch.randperm(len(features), generator=generator)].tensor_split(2)
        for features in (fakes, reals)
    ]
    of_halves = [frechet_distance(x, y) for x, y in zip(*halves, strict=True)]
    return sum(of_halves) / 2 - frechet_distance(fakes, reals)
