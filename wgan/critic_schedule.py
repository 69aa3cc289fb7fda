"""When the generator is trained, told from the step alone, so that a resumed run agrees."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from wgan.config import Model


@dataclass(frozen=True)
class CriticSchedule:
    """How many critic updates (steps) come before each generator update.

    The official WGAN trains the critic longer while the generator is young, and now and then
    later, so that it is near its optimum (`main.py`, the rule for `Diters`).

    Attributes:
        model: its `num_critic`, `num_critic_warm_up`, `num_warm_up` and `warm_up_every`.
    """

    model: Model

    def critic_updates(self, generator_updates: int) -> int:
        """Count the critic updates that come before the first `generator_updates` are done."""
        model = self.model
        if not model.num_critic_warm_up:
            return model.num_critic * generator_updates
        young = min(generator_updates, model.num_warm_up)
        # Those after the warm-up whose number is a multiple of `warm_up_every`.
        later = len(range(0, generator_updates, model.warm_up_every))
        later -= len(range(0, young, model.warm_up_every))
        long = young + later
        return model.num_critic_warm_up * long + model.num_critic * (generator_updates - long)

    def trains_generator(self, step: int) -> bool:
        """Tell whether a generator update follows the critic update of `step`, counted from 0."""
        done = step + 1
        number = bisect_left(range(done + 1), done, key=self.critic_updates)
        return self.critic_updates(number) == done
