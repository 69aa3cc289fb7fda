"""A stop that all processes of a training agree on."""

from __future__ import annotations

import time

import torch

from core.runtime import distributed
from core.runtime.signals import StopRequest

SECONDS = 2.0
"""How often several processes ask each other: asking waits for the GPUs."""
_MOST_STEPS = 1000
"""Steps between two questions, at most."""


class StopAgreement:
    """Tells before each step whether to stop; one process alone need not ask.

    Args:
        request: of this process.
        step: the one that the training begins with.
        device: of the messages.
    """

    def __init__(self, request: StopRequest, step: int, device: torch.device) -> None:
        self._request, self._device = request, device
        self._asked_step = self._next_step = step
        self._asked_at = time.monotonic()

    def __call__(self, step: int) -> bool:
        """Whether to stop before `step`; every process must ask at every step."""
        if distributed.num_processes() == 1:
            return bool(self._request)
        if step < self._next_step:
            return False
        # Each estimates how many steps fit; all take the largest number, and so meet again.
        seconds = max(1e-6, time.monotonic() - self._asked_at)
        steps = min(_MOST_STEPS, max(1, round((step - self._asked_step) * SECONDS / seconds)))
        answer = torch.tensor([float(bool(self._request)), float(steps)], device=self._device)
        distributed.maximum(answer)
        stop, steps = (int(x) for x in answer.tolist())
        self._asked_step, self._next_step, self._asked_at = step, step + steps, time.monotonic()
        return bool(stop)
