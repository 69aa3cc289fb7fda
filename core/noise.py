"""The noise that training steps draw, and what a step must do once however often it is run.

Where a batch does not fit in memory, a step is run for a part of it at a time, and for each part
more than once (`core.training.accumulate`). What is drawn, kept in a history or averaged over a
batch must be that of the whole batch all the same, so a step does these things by the functions
here. Outside such a step they do what their names say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Part(Protocol):
    """A part of a batch, of which a training step is being run."""

    def draw(
        self, draw: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...], dim: int | None
    ) -> Tensor:
        """Return this part's share, of the given shape, of a draw for the whole batch.

        `dim` is that of the samples; None: the draw is for all of them, and no part has a share.
        """

    def once(self, work: Callable[[], T]) -> T:
        """Return `work()`, done in the order of the parts and only once for each."""

    def settle(self, work: Callable[[], None]) -> None:
        """Do `work`, unless the update that it follows has not been taken yet."""

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a scalar over all parts, with a gradient to this part's."""


_part: Part | None = None


@contextmanager
def running(part: Part) -> Iterator[None]:
    """Within, the functions below are those of a part of a batch."""
    global _part  # noqa: PLW0603  (one training step runs at a time)
    _part = part
    try:
        yield
    finally:
        _part = None


def normal(like: Tensor, *shape: int) -> Tensor:
    """Draw noise from N(0, 1) on the device of `like` and of its type, but at least float32.

    The first number of `shape` is that of samples.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    return _drawn(lambda size: torch.randn(size, device=like.device, dtype=dtype), shape, 0)


def uniform(like: Tensor, *shape: int, dim: int = 0) -> Tensor:
    """Draw evenly from [0, 1), otherwise as `normal`; `shape[dim]` is the number of samples."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return _drawn(lambda size: torch.rand(size, device=like.device, dtype=dtype), shape, dim)


def shared(draw: Callable[[], Tensor]) -> Tensor:
    """Draw what is the same for all samples of a batch."""
    return draw() if _part is None else _part.draw(lambda _: draw(), (), None)


def _drawn(draw: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...], dim: int) -> Tensor:
    return draw(shape) if _part is None else _part.draw(draw, shape, dim)


def once(work: Callable[[], T]) -> T:
    """Do what changes something besides weights and gradients, such as a history of images."""
    return work() if _part is None else _part.once(work)


def settle(work: Callable[[], None]) -> None:
    """Change weights beside an update, in a way that twice is as good as once, such as clipping."""
    if _part is None:
        work()
    else:
        _part.settle(work)


def batch_mean(value: Tensor) -> Tensor:
    """Take a mean over the samples of a part for what it is of, a mean over the whole batch.

    Needed only where a loss is no mean over samples itself, e.g. a ratio of two means.
    """
    return value if _part is None else _part.mean(value)
