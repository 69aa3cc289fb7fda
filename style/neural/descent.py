"""Optimising an image: one evaluation and one update at a time, by L-BFGS or Adam."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.optim import LBFGS, Adam, Optimizer

from style.neural.config import Optim


class Descent:
    """The image on its way, and the optimizer that moves it.

    L-BFGS as published: no line search, so one evaluation for each iteration; first step of length
    min(1, 1 / |g|_1), then 1; never stops by itself. Deviation: the published run saves the image
    before its last update, ours after it.

    Args:
        start: [1, 3, H, W]; copied.
        objective: image to {term: scalar}, to be minimised in sum.
        options: optimizer and its numbers.

    Attributes:
        image: as it is now; its `grad` is that of the evaluation before the last update.
    """

    def __init__(
        self, start: Tensor, objective: Callable[[Tensor], Mapping[str, Tensor]], options: Optim
    ) -> None:
        # Contiguous: L-BFGS flattens the gradient, which follows the image.
        self.image = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self._objective = objective
        self._optimizer: Optimizer
        if options.optimizer == "adam":
            self._optimizer = Adam([self.image], lr=options.lr, fused=True)
        else:
            self._optimizer = LBFGS(
                [self.image],
                max_iter=1,
                tolerance_grad=-1.0,
                tolerance_change=-1.0,
                history_size=options.num_corrections,
            )

    def step(self) -> dict[str, Tensor]:
        """Evaluate and update once; return {term: detached scalar} of the evaluation."""
        terms: dict[str, Tensor] = {}

        def evaluate() -> Tensor:
            self._optimizer.zero_grad(set_to_none=True)
            losses = self._objective(self.image)
            total = torch.stack(list(losses.values())).sum()
            total.backward()
            terms.update({name: loss.detach() for name, loss in losses.items()})
            return total

        self._optimizer.step(evaluate)  # type: ignore[arg-type]  # typed for closures of float
        return terms
