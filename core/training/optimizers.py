"""The optimizers that the published codes use, over one or several networks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Adam, RMSprop

from core.options import OptimOptions


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
