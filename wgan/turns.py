"""When the generator has its turn, told from the step alone, so that a resumed run agrees."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True)
class Turns:
    """How many critic updates (steps) come before each generator update.

    The official WGAN trains the critic longer while the generator is young, and now and then
    later, so that it is near its optimum (`main.py`, the rule for `Diters`).

    Attributes:
        num_critic: critic updates per generator update.
        num_critic_warm_up: the same for the first `num_warm_up` generator updates, and for each
            whose number, counted from 0, is a multiple of `warm_up_every`; 0: no warm-up.
        num_warm_up: generator updates at the beginning.
        warm_up_every: generator updates from one long turn to the next.
    """

    num_critic: int = 5
    num_critic_warm_up: int = 0
    num_warm_up: int = 25
    warm_up_every: int = 500

    def critic_updates(self, generator_updates: int) -> int:
        """Critic updates that come before the first `generator_updates` are done."""
        if not self.num_critic_warm_up:
            return self.num_critic * generator_updates
        young = min(generator_updates, self.num_warm_up)
        # Multiples of `warm_up_every` in [num_warm_up, generator_updates).
        later = _multiples(generator_updates, self.warm_up_every)
        later -= _multiples(young, self.warm_up_every)
        long = young + later
        return self.num_critic_warm_up * long + self.num_critic * (generator_updates - long)

    def is_generators(self, step: int) -> bool:
        """Whether a generator update follows the critic update of `step`, counted from 0."""
        done = step + 1
        number = bisect_left(range(done + 1), done, key=self.critic_updates)
        return self.critic_updates(number) == done


def _multiples(end: int, of: int) -> int:
    """How many multiples of `of` lie in [0, end)."""
    return -(-end // of)
