"""Intervals and bias, where the truth is known."""

from __future__ import annotations

import torch

from core.evaluation.metrics.fid import Gaussian, frechet_distance
from core.evaluation.metrics.kid import kernel_distance
from core.evaluation.uncertainty import frechet_bias, frechet_interval, kernel_interval


def drawn(seed: int, number: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 8, generator=generator, dtype=torch.float64) + shift


def test_the_bias_is_what_more_images_take_away() -> None:
    """Of equal distributions FID of endlessly many is 0, so all of it is bias."""
    ratios = []
    for seed in range(6):
        x, y = drawn(2 * seed, 100), drawn(2 * seed + 1, 100)
        ratios.append(frechet_bias(x, y) / frechet_distance(x, y))
    assert 0.8 < sum(ratios) / len(ratios) < 1.3


def test_intervals_are_as_wide_as_values_of_other_draws_are_apart() -> None:
    frechet, kernel = [], []
    for seed in range(30):
        x, y = drawn(2 * seed, 80, 0.5), drawn(2 * seed + 1, 80)
        frechet.append(frechet_distance(x, y))
        kernel.append(kernel_distance(x, y, 80).mean)
    x, y = drawn(98, 80, 0.5), drawn(99, 80)
    value = frechet_distance(x, y)
    for interval, values in (
        (frechet_interval(x, y, value, 200), frechet),
        (kernel_interval(x, y, kernel_distance(x, y, 80).mean, 200), kernel),
    ):
        spread = 4 * float(torch.tensor(values).std())  # 95 % of a normal distribution
        assert 0.6 * spread < interval.high - interval.low < 1.6 * spread
    assert frechet_interval(x, y, value, 50).low < value < frechet_interval(x, y, value, 50).high
    # Statistics hold no images to draw from: the interval is narrower.
    alone = frechet_interval(x, Gaussian.of(y), value, 200)
    both = frechet_interval(x, y, value, 200)
    assert alone.high - alone.low < both.high - both.low
