"""The loss that the plateau policy follows, over an epoch and all processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.errors import UserError
from core.family import Family
from core.runtime import distributed


class EpochObjective:
    """Values of a family's objective since the last `mean`."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._values: list[Tensor] = []

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Keep a step's objective, if it is among its terms; nothing waits for the device."""
        if self._family.objective in terms:
            self._values.append(terms[self._family.objective])

    def mean(self) -> float:
        """Return the mean of the finite values over all processes, and begin anew.

        Raises:
            UserError: there is none.
        """
        if not self._values:
            raise UserError(
                f"optim.policy: plateau follows the loss {self._family.objective}, which "
                f"{self._family.name} did not compute in this epoch; use another policy"
            )
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
        self._values = [torch.tensor(float(value), device=device) for value in state[0]]
