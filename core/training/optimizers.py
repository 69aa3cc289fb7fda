"""The optimizers that the published codes use, over one or several networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer, RMSprop

from core.options import OptimOptions

_MOMENTS: dict[type[Optimizer], set[str]] = {
    Adam: {"step", "exp_avg", "exp_avg_sq"},
    RMSprop: {"step", "square_avg"},
}
"""What each optimizer remembers of a parameter."""


class Optimizers(Mapping[str, Optimizer]):
    """Optimizers by name, each made when it is first looked up.

    Only training needs them, and torch's first optimizer imports its compiler, which takes a second
    and a half.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Optimizer]]) -> None:
        self._makers = makers
        self._made: dict[str, Optimizer] = {}

    def __getitem__(self, name: str) -> Optimizer:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def adam(networks: Iterable[nn.Module], options: OptimOptions) -> Adam:
    """One fused Adam over the parameters of all `networks`."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return Adam(
        parameters,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=True,
    )


def rmsprop(networks: Iterable[nn.Module], options: OptimOptions, smoothing: float) -> RMSprop:
    """One RMSprop over the parameters of all `networks`, without momentum, not centred.

    Args:
        networks: whose parameters.
        options: lr, eps (outside the square root) and weight_decay.
        smoothing: share of the old mean square that stays at each step.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return RMSprop(
        parameters,
        lr=options.lr,
        alpha=smoothing,
        eps=options.eps,
        weight_decay=options.weight_decay,
    )


def load_moments(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load what an optimizer remembers; its options stay those it was built with.

    Moments take the strides of their parameters: fused optimizers on a CPU walk memory, and would
    pair moments of another memory format with the wrong weights without an error.

    Args:
        optimizer: over the same parameters as when `state` was taken.
        state: `optimizer.state_dict()` of then.

    Raises:
        ValueError: parameters or moments are others.
    """
    options = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(dict(state))
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)
    for parameter, moments in optimizer.state.items():
        if missing := _MOMENTS.get(type(optimizer), set()) - moments.keys():
            raise ValueError(f"no {min(missing)} of a parameter")
        for name, value in moments.items():
            same = torch.is_tensor(value) and value.shape == parameter.shape
            if name in _MOMENTS.get(type(optimizer), ()) and not (same or name == "step"):
                raise ValueError(f"{name} is not of the parameter's shape {list(parameter.shape)}")
            if same:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
