"""The loss that the plateau policy follows, over an epoch and all processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.runtime import distributed


class EpochObjective:
    """Values of one loss term since the last `mean`."""

    def __init__(self) -> None:
        self._values: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: Tensor) -> None:
        """Keep a step's detached scalar; nothing waits for the device."""
        self._values.append(value)

    def mean(self) -> float:
        """Return the mean of the finite values over all processes, and begin anew."""
        values = torch.stack(self._values).double()
        finite = torch.isfinite(values)
        sums = torch.stack([values[finite].sum(), finite.sum().double()])
        distributed.add_up(sums)
        self._values = []
        total, number = sums.tolist()
        return total / number if number else math.inf

    def state_dict(self) -> list[list[float]]:
        """Plain numbers."""
        return [[float(value) for value in self._values]]

    def load_state_dict(self, state: Sequence[Sequence[float]], device: torch.device) -> None:
        """Inverse of `state_dict`."""
        self._values = [torch.tensor(value, device=device) for value in state[0]]
