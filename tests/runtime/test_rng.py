"""Random generators: seeded alike, they draw alike; saved and restored, they go on alike."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from core.runtime.rng import get_state, seed_all, set_state

CPU = torch.device("cpu")


def draws() -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.standard_normal()),
        torch.rand(1).item(),
        torch.randn(1).item(),
    ]


def test_same_seed_same_draws() -> None:
    seed_all(3)
    first = draws()
    seed_all(3)
    assert draws() == first
    seed_all(4)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_any_seed() -> None:
    for seed in (-1, 0, 2**32, 2**63 - 1):
        seed_all(seed)


def test_restored_state_goes_on() -> None:
    seed_all(1)
    draws()  # leaves half a Gaussian pair behind in `random` and NumPy
    stream = io.BytesIO()
    torch.save(get_state(CPU), stream)
    expected = [draws() for _ in range(3)]
    seed_all(2)
    set_state(torch.load(io.BytesIO(stream.getvalue()), weights_only=True), CPU)
    assert [draws() for _ in range(3)] == expected


def test_deterministic_mode_is_switched_back() -> None:
    seed_all(0, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    seed_all(0)
    assert not torch.are_deterministic_algorithms_enabled()
