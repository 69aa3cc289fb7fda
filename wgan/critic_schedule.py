"""Tell when the generator is trained from the step alone, so that a resumed run agrees.

The official WGAN trains the critic longer while the generator is young, and now and then later, so
that it is near its optimum (`main.py`, the rule for `Diters`).
"""

from bisect import bisect_left
from functools import partial

from wgan.config import Model


def critic_updates(model: Model, generator_updates: int) -> int:
    """Count the critic updates (steps) before the first `generator_updates` are done."""
    if not model.num_critic_warm_up:
        return model.num_critic * generator_updates
    young = min(generator_updates, model.num_warm_up)
    # Those after the warm-up whose number is a multiple of `warm_up_every`.
    later = len(range(0, generator_updates, model.warm_up_every))
    later -= len(range(0, young, model.warm_up_every))
    long = young + later
    return model.num_critic_warm_up * long + model.num_critic * (generator_updates - long)


def trains_generator(model: Model, step: int) -> bool:
    """Tell whether a generator update follows the critic update of `step`, counted from 0."""
    done = step + 1
    number = bisect_left(range(done + 1), done, key=partial(critic_updates, model))
    return critic_updates(model, number) == done
