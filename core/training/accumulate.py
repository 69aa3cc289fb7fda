"""A training step on a batch that is larger than memory, part by part, as if it were in one piece.

A step makes several updates, and what follows an update depends on all parts of the batch before
it: the parts have to meet at each update. To keep in memory the graph of one part only, the step is
run up to its first update for each part in turn, where its gradients are added up and the run is
abandoned; then the update is taken, the step is run again for each part, past that update to the
second one, and so on. A run that passes an update finds the weights as they were before it and
leaves it with those after it; noise, histories and random masks come again as they were. So every
number is that of the whole batch, to rounding, for the price of repeated forward passes: a third to
two thirds more time.

What is a matter of the whole batch in another way is `core.noise`'s. Batch norm sees a part at a
time, and dropout draws for each part by itself; running averages are the mean over the parts, as
they are over processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core import noise
from core.runtime import rng
from core.training.update import Gradients, Updater, parameters_of

T = TypeVar("T")
Step = Callable[[Any], dict[str, Tensor]]


class _Met(Exception):  # noqa: N818  (no error: the way out of a step)
    """A part has come as far as it can before the others have come there too."""


@dataclass(frozen=True)
class _Change:
    """Weights before and after an update that was taken."""

    parameters: list[nn.Parameter]
    before: list[Tensor]
    after: list[Tensor]


class Accumulation:
    """One training step in parts; the `Update` and the `core.noise.Part` that its runs meet.

    Args:
        updater: takes the steps; `begin` has been called.
        seed: words that differ between steps and processes, for what draws by itself.
    """

    def __init__(self, updater: Updater, seed: Sequence[int]) -> None:
        self._updater, self._seed = updater, seed
        self._random = rng.get_torch_state(updater.device)
        self._changes: list[_Change] = []
        self._gathered: Gradients | None = None
        # Of the whole batch, and where its samples are.
        self._draws: list[tuple[Tensor, int | None]] = []
        self._results: list[list[Any]] = []  # of what is done once, part by part
        self._known: list[Tensor] = []  # means over the whole batch
        self._heard: list[list[Tensor]] = []  # what parts contribute to further ones

    def __call__(
        self, optimizer: Optimizer, *losses: Tensor, clip_grad_norm: float | None = None
    ) -> None:
        """Meet the other parts, and step on the mean of their gradients."""
        self._meet([([optimizer], losses)], clip_grad_norm)

    def step_together(self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]]) -> None:
        """Meet the other parts; then as `Updater.step_together`."""
        self._meet(turns, None)

    def run(self, step: Step, parts: Sequence[Any]) -> dict[str, Tensor]:
        """Run a step on parts of equal size; returns the means of its terms.

        Args:
            step: of one part; the same at every call but for what this object gives it.
            parts: of the batch, at least two.
        """
        terms: list[dict[str, Tensor] | None] = [None]
        while None in terms:
            terms, buffers = [], []
            self._heard = []
            for number, part in enumerate(parts):
                self._start(number, len(parts))
                # The first one tells whether the step goes on to another update.
                self._last = number > 0 and terms[0] is not None
                with noise.running(self):
                    try:
                        terms.append(step(part))
                    except _Met:
                        terms.append(None)
                buffers.append(self._updater.buffers())
            self._known += [torch.stack(values).mean() for values in self._heard]
        self._updater.set_buffers([_mean(versions) for versions in zip(*buffers, strict=True)])
        rng.set_torch_state(self._random, self._updater.device)
        given = [each for each in terms if each is not None]
        return {name: torch.stack([each[name] for each in given]).mean() for name in given[0]}

    def _start(self, number: int, parts: int) -> None:
        """Put everything back to where the step began, for another run."""
        self._number, self._parts = number, parts
        self._updates = self._num_draws = self._num_results = self._num_means = 0
        self._ahead = self._taken = self._open = False
        self._updater.rewind()
        for change in reversed(self._changes):
            _copy(change.parameters, change.before)
        words = np.random.SeedSequence([*self._seed, number]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))

    # -- updates ----------------------------------------------------------------------------

    def _meet(
        self, turns: Sequence[tuple[Sequence[Optimizer], Iterable[Tensor]]], clip: float | None
    ) -> None:
        if self._ahead:
            raise _Met
        if self._updates < len(self._changes):
            change = self._changes[self._updates]
            _copy(change.parameters, change.after)
            self._updates += 1
            return
        if self._open:  # the losses of this run have means of its own part in them
            raise _Met
        found = self._updater.gradients(*turns, parts=self._parts)
        if self._number == 0:
            self._gathered = found
        else:
            assert self._gathered is not None
            self._gathered.add(found)
        self._taken = self._number == self._parts - 1
        if self._taken:
            self._take(clip)
        self._ahead = True
        if self._number and not self._last:
            raise _Met

    def _take(self, clip: float | None) -> None:
        """Take the update for which all parts have met."""
        assert self._gathered is not None
        optimizers = [o for turn in self._gathered.turns for o in turn.optimizers]
        parameters = list(dict.fromkeys(parameters_of(optimizers)))
        before = [parameter.detach().clone() for parameter in parameters]
        self._updater.take(self._gathered, clip)
        after = [parameter.detach().clone() for parameter in parameters]
        self._changes.append(_Change(parameters, before, after))
        self._gathered = None

    # -- what is a matter of the whole batch ------------------------------------------------

    def draw(
        self, draw: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...], dim: int | None
    ) -> Tensor:
        """See `core.noise.Part`."""
        if self._num_draws == len(self._draws):
            device = self._updater.device
            own = rng.get_torch_state(device)
            rng.set_torch_state(self._random, device)
            whole = shape
            if dim is not None:
                whole = (*shape[:dim], self._parts * shape[dim], *shape[dim + 1 :])
            self._draws.append((draw(whole), dim))
            self._random = rng.get_torch_state(device)
            rng.set_torch_state(own, device)
        drawn, dim = self._draws[self._num_draws]
        self._num_draws += 1
        if dim is None:
            return drawn
        return drawn.narrow(dim, self._number * shape[dim], shape[dim])

    def once(self, work: Callable[[], T]) -> T:
        """See `core.noise.Part`."""
        if self._num_results == len(self._results):
            self._results.append([])
        results = self._results[self._num_results]
        if self._number == len(results):
            if self._ahead or self._open:
                raise _Met
            results.append(work())
        self._num_results += 1
        found: T = results[self._number]
        return found

    def settle(self, work: Callable[[], None]) -> None:
        """See `core.noise.Part`."""
        if not self._ahead or self._taken:
            work()

    def mean(self, value: Tensor) -> Tensor:
        """See `core.noise.Part`."""
        place = self._num_means
        self._num_means += 1
        if place < len(self._known):
            return value + (self._known[place] - value).detach()
        if not self._ahead:
            self._open = True
            if place - len(self._known) == len(self._heard):
                self._heard.append([])
            self._heard[place - len(self._known)].append(value.detach())
        return value


@torch.no_grad()
def _copy(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(parameters), list(values))
    torch.clear_autocast_cache()


def _mean(versions: tuple[Tensor, ...]) -> Tensor:
    """Mean over the parts of a running average; a counter has the same value in all."""
    first = versions[0]
    return torch.stack(versions).mean(0) if first.is_floating_point() else first
