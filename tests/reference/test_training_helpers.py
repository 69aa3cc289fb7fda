"""Image pool traces and learning rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from core.options import OptimOptions
from core.training.image_pool import ImagePool
from core.training.schedule import Schedule
from tests.reference.cases import Case, agree, each

POLICIES = {"linear_resumed": "linear", "linear_before": "linear_legacy"}
"""How the name of a list begins, where it is not that of its policy: our policy."""


class TracedPool(ImagePool):
    """A pool whose draws are given."""

    def __init__(self, size: int, uniform: Sequence[float], slots: Sequence[int]) -> None:
        super().__init__(size)
        self.uniform: Iterator[float] = iter(uniform)
        self.slots: Iterator[int] = iter(slots)

    def _uniform(self) -> float:
        return next(self.uniform)

    def _slot(self) -> int:
        return next(self.slots)


@each("image_pool")
def test_image_pool(case: Case) -> None:
    arrays: dict[str, Tensor] = {}
    for number, trace in enumerate(case.data["traces"]):
        pool = TracedPool(trace["pool_size"], trace["uniform_draws"], trace["slot_draws"])
        returned = []
        for query in trace["queries"]:
            images = torch.tensor(query, dtype=torch.float64).reshape(-1, 1, 1, 1)
            returned.append(pool.query(images).flatten().tolist())
        assert returned == trace["returned"]
        assert [image.item() for image in pool.images] == trace["pool_afterwards"]
        assert list(pool.uniform) == list(pool.slots) == []
        if f"returned_{number}" in case.arrays:
            arrays[f"returned_{number}"] = torch.tensor(returned)
    agree(arrays, case.arrays, rtol=0, atol=0)


@each("lr_schedule")
def test_learning_rates(case: Case) -> None:
    hyper, arrays = case.hyper, {}
    for name, rates in case.data["lr_per_epoch"].items():
        policy = next((ours for start, ours in POLICIES.items() if name.startswith(start)), name)
        options = OptimOptions(lr=hyper["lr"], policy=policy, decay_every=hyper["lr_decay_iters"])
        optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=options.lr)
        schedule = Schedule([optimizer], options, hyper["n_epochs"], hyper["n_epochs_decay"])
        # A list ends with the last epoch, wherever training started.
        first = hyper["n_epochs"] + hyper["n_epochs_decay"] - len(rates) + 1
        ours = []
        for epoch in range(first, first + len(rates)):
            schedule.advance(epoch, metric=0.0)
            ours.append(optimizer.param_groups[0]["lr"])
        assert ours == pytest.approx(rates, rel=1e-9, abs=1e-15), name
        arrays[name] = torch.tensor(ours, dtype=torch.float64)
    agree(arrays, case.arrays, atol=1e-15)
