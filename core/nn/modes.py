"""Modes of networks, switched and put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from core.nn.norms import SwitchedNorm


@contextmanager
def switched(modules: Iterable[nn.Module], name: str, value: bool) -> Iterator[None]:
    """Set the attribute `name` of every module within; afterwards each has its own value again."""
    before = [(module, getattr(module, name)) for module in modules]
    try:
        for module, _ in before:
            setattr(module, name, value)
        yield
    finally:
        for module, own in before:
            setattr(module, name, own)


def _all(networks: Iterable[nn.Module], kind: type[nn.Module] = nn.Module) -> list[nn.Module]:
    return [m for network in networks for m in network.modules() if isinstance(m, kind)]


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put networks in eval mode, without gradients, within."""
    with switched(_all(networks), "training", False), torch.no_grad():
        yield


@contextmanager
def published_test_mode(*networks: nn.Module) -> Iterator[None]:
    """Test as the official pix2pix does, which leaves its networks in train mode.

    Dropout stays active and batch norm normalises each image by its own statistics. Without
    dropout and batch norm nothing changes.
    """
    dropouts, norms = _all(networks, nn.Dropout), _all(networks, SwitchedNorm)
    with switched(dropouts, "training", True), switched(norms, "per_image", True):
        yield


@contextmanager
def recomputing(network: nn.Module) -> Iterator[None]:
    """Leave the running statistics of a network's batch norms alone within."""
    with switched(_all([network], SwitchedNorm), "recomputing", True):
        yield
