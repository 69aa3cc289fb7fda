"""Weight initialisation of the official CycleGAN, pix2pix, DCGAN and WGAN."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import init

InitName = Literal["normal", "xavier", "kaiming", "orthogonal"]


@torch.no_grad()
def init_weights(network: nn.Module, name: InitName = "normal", gain: float = 0.02) -> None:
    """Initialise convolutions and batch norms in place, by default as DCGAN does.

    Convolutions are `normal` N(0, gain), `xavier` normal with `gain`, `kaiming` normal (fan in) or
    `orthogonal` with `gain`; batch norm scales are N(1, gain), all biases 0. Linear layers, which
    only the text branches have, keep the framework's default, as in the text-conditional DCGAN.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            init_layer(module, name, gain)
        elif isinstance(module, nn.BatchNorm2d):
            init.normal_(module.weight, 1.0, gain)
            init.zeros_(module.bias)


@torch.no_grad()
def init_layer(
    layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, name: InitName, gain: float
) -> None:
    """Initialise one layer's weight in place, by name as in `init_weights`, and its bias to 0."""
    if name == "normal":
        init.normal_(layer.weight, 0.0, gain)
    elif name == "xavier":
        init.xavier_normal_(layer.weight, gain)
    elif name == "kaiming":
        init.kaiming_normal_(layer.weight, a=0.0, mode="fan_in")
    else:
        init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        init.zeros_(layer.bias)
