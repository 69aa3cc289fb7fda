"""Train and evaluation modes, switched and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from core.nn.norms import BatchNorm2d


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Within: eval mode, no gradients; afterwards every module's own mode is back."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def published_test_mode(*networks: nn.Module) -> Iterator[None]:
    """Test as the official pix2pix does, which leaves its networks in train mode.

    Dropout stays active and batch norm normalises each image by its own statistics. Without
    dropout and batch norm nothing changes.
    """
    modules = [module for network in networks for module in network.modules()]
    dropouts = [(m, m.training) for m in modules if isinstance(m, nn.Dropout)]
    norms = [m for m in modules if isinstance(m, BatchNorm2d)]
    for dropout, _ in dropouts:
        dropout.training = True
    for norm in norms:
        norm.per_image = True
    try:
        yield
    finally:
        for dropout, training in dropouts:
            dropout.training = training
        for norm in norms:
            norm.per_image = False
