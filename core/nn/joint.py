"""Several inputs of one network in a single pass, where that is the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def is_independent(network: nn.Module) -> bool:
    """Tell whether a sample's output depends on that sample and the parameters alone.

    If it does, samples may share a pass, and passes may change places. Batch norm mixes the samples
    of a pass, dropout draws, and what is kept in buffers (running statistics, the power iteration
    of spectral norm) changes from pass to pass: there the published order of passes counts.
    """
    if next(network.buffers(), None) is not None:
        return False
    return not any(isinstance(module, _BatchNorm | _DropoutNd) for module in network.modules())


def forward_each(
    function: Callable[..., Any], *inputs: Tensor | tuple[Tensor, ...]
) -> tuple[Any, ...]:
    """Return a network's output for each input, from one pass over all of them where it may.

    That is one pass if the network is independent (`is_independent`) and the inputs are of one
    size; otherwise they go one by one, in the given order.

    Args:
        function: a network, or a bound method of one, that gives a tensor, or a list of them (one
            per scale).
        inputs: a batch each, or the tuple of batches that are the function's arguments.
    """
    network: Any = getattr(function, "__self__", function)
    given = [each if isinstance(each, tuple) else (each,) for each in inputs]
    alike = len({each[0].shape[1:] for each in given}) == 1
    if not (alike and is_independent(network)):
        return tuple(function(*each) for each in given)
    together = function(*(torch.cat(column) for column in zip(*given, strict=True)))
    numbers = [len(each[0]) for each in given]
    if isinstance(together, Tensor):
        return together.split(numbers)
    return tuple(map(list, zip(*(scale.split(numbers) for scale in together), strict=True)))
