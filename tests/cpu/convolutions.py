"""What tests of convolutions share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from core.cpu import winograd


@pytest.fixture(autouse=True, scope="module")
def any_size() -> Iterator[None]:
    """Minimal filtering of small convolutions too."""
    patch = pytest.MonkeyPatch()
    patch.setattr(winograd, "MIN_CHANNELS", 1)
    patch.setattr(winograd, "SURE_CHANNELS", 1)
    patch.setattr(winograd, "MIN_PLACES", 1)
    yield
    patch.undo()


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The same for the same shape."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


def same(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    """In value, and in the gradients of the inputs."""
    torch.testing.assert_close(ours, theirs)
    upstream = random(*theirs.shape)
    found = [torch.autograd.grad(y, inputs, upstream) for y in (ours, theirs)]
    torch.testing.assert_close(*found)
