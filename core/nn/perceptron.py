"""The multilayer perceptron of the official WGAN (`models/mlp.py`; paper, figure 7)."""

from __future__ import annotations

from torch import nn


def perceptron(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """Four linear layers with ReLU between them: three of width `hidden`, then the output."""
    layers: list[nn.Module] = []
    for before in (size_in, hidden, hidden):
        layers += [nn.Linear(before, hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, size_out))
