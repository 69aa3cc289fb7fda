"""Exponential moving average of network weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages of the weights of some networks; buffers are copied.

    Args:
        networks: the ones to follow, by name.
        decay: share of the old average that stays at each step; 0 keeps no average.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self._networks = dict(networks) if decay else {}
        self._weights = {
            name: [key for key, _ in net.named_parameters()] for name, net in self._networks.items()
        }
        self._average = {
            name: {key: value.detach().clone() for key, value in net.state_dict().items()}
            for name, net in self._networks.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards the current weights."""
        for name, network in self._networks.items():
            average, current = self._average[name], network.state_dict()
            weights = self._weights[name]
            torch._foreach_lerp_(
                [average[k] for k in weights], [current[k] for k in weights], 1 - self.decay
            )
            for key in average.keys() - set(weights):
                average[key].copy_(current[key])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the networks carry their averages."""
        own = {
            name: {key: value.clone() for key, value in network.state_dict().items()}
            for name, network in self._networks.items()
        }
        for name, network in self._networks.items():
            network.load_state_dict(self._average[name])
        try:
            yield
        finally:
            for name, network in self._networks.items():
                network.load_state_dict(own[name])

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """{network: state dict of averages}."""
        return self._average

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take saved averages; one that was not kept then begins from the network's weights."""
        for name, network in self._networks.items():
            for key, value in state.get(name, network.state_dict()).items():
                average = self._average[name][key]
                if average.shape != value.shape:  # copy_ would spread one number over all
                    raise ValueError(f"{name}.{key} is of another shape")
                average.copy_(value)
