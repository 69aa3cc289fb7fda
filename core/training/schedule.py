"""The published learning rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from core.options import OptimOptions


def rate_factor(
    policy: str, e: int, *, hold: int, decay: int, decay_every: int, decay_factor: float
) -> float:
    """Share of the full learning rate in force during epoch (or step) `e`.

    The official rules (`models/networks.py`, `get_scheduler`): `linear` falls after `hold` epochs
    over `decay` more and reaches exactly zero in the last; `linear_legacy` is one epoch later;
    `step` cuts by `decay_factor` every `decay_every`; `cosine` reaches zero at `hold` and rises
    again beyond. They count from 1 (`OptimOptions.first_epoch`).
    """
    if policy == "linear":
        return max(0.0, 1.0 - max(0, e + 1 - hold) / (decay + 1))
    if policy == "linear_legacy":
        return max(0.0, 1.0 - max(0, e - hold) / (decay + 1))
    if policy == "step":
        return decay_factor ** (e // decay_every)
    if policy == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * e / max(1, hold)))
    return 1.0


class Schedule:
    """Sets the learning rate of several optimizers at the beginning of each epoch (or step).

    Args:
        optimizers: all get the same factor of their own initial rate.
        options: policy and its numbers.
        hold: epochs (or steps) at the full rate.
        decay: further ones over which it falls.
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], options: OptimOptions, hold: int, decay: int
    ) -> None:
        self._optimizers = list(optimizers)
        self._options, self._hold, self._decay = options, hold, decay
        self._initial = [[g["lr"] for g in optimizer.param_groups] for optimizer in optimizers]
        self._position = 0
        self._plateaus = (
            [ReduceLROnPlateau(o, factor=0.2, threshold=0.01, patience=5) for o in optimizers]
            if options.policy == "plateau"
            else []
        )

    @property
    def position(self) -> int:
        """The epoch or step entered last."""
        return self._position

    @property
    def rate(self) -> float:
        """Learning rate now in force (first optimizer)."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def advance(self, e: int, metric: float | None = None) -> None:
        """Enter epoch (or step) `e`, counted from 1; calling again for the same `e` does nothing.

        Args:
            e: the epoch or step.
            metric: plateau policy only: what should fall, the mean of the epoch before; None in the
                first. (The official models pass 0 always, so that their rate drops by 5 every six
                epochs whatever happens.)
        """
        if e == self._position:
            return
        self._position = e
        if not self._plateaus:
            self._set_rates()
        elif metric is not None:
            for plateau in self._plateaus:
                plateau.step(metric)

    def _set_rates(self) -> None:
        """Give every optimizer the rate of the present position."""
        factor = rate_factor(
            self._options.policy,
            self._position - 1 + self._options.first_epoch,
            hold=self._hold,
            decay=self._decay,
            decay_every=self._options.decay_every,
            decay_factor=self._options.decay_factor,
        )
        for optimizer, initial in zip(self._optimizers, self._initial, strict=True):
            for group, rate in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = rate * factor

    def state_dict(self) -> dict[str, Any]:
        """Position and the plateau policy's memory; the rates stand in the optimizers."""
        return {
            "position": self._position,
            "initial": self._initial,
            "plateaus": [plateau.state_dict() for plateau in self._plateaus],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the saved position, at the rate that the present options give for it."""
        self._position = state["position"]
        if not self._plateaus and self._position:
            self._set_rates()
        # The policy may be new, or another one than then.
        for plateau, saved, then in zip(
            self._plateaus, state["plateaus"], state["initial"], strict=False
        ):
            plateau.load_state_dict(saved)
            groups = plateau.optimizer.param_groups
            for group, last, initial in zip(groups, saved["_last_lr"], then, strict=True):
                group["lr"] = last if group["lr"] == initial else group["lr"] * last / initial
