"""Filters transformed for minimal filtering, and kept for as long as the weight is as it was."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from core.cpu.transforms import transforms


@torch.library.custom_op("minimal_filtering::transform", mutates_args=())
def transformed(weight: Tensor, outputs: int) -> Tensor:
    """[O, I, r, r] to [t * t, O, I] for F(m, r), m being `outputs`; takes no gradient."""
    maps = transforms(outputs, weight.shape[2], weight.dtype)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    return (maps.to_filter @ taps).view(-1, *weight.shape[:2])


@transformed.register_fake
def _(weight: Tensor, outputs: int) -> Tensor:
    return weight.new_empty((outputs + weight.shape[2] - 1) ** 2, *weight.shape[:2])


class KeptFilters:
    """The `transformed` filters of one layer, for all its forwards until the weight changes.

    A weight is the same while its memory and its version are. What writes to a tensor raises its
    version: clipping, loading, averages put in its place, most optimizers. Fused optimizers do not
    by themselves (`watch_optimizers`), nor do collectives (`distributed.broadcast_networks` sees to
    it). So nobody who changes weights has to know of this class; only what writes through `.data`
    or a pointer goes unseen.

    Args:
        fixed: the weight is not trained, so that larger filters pay.
    """

    def __init__(self, fixed: bool) -> None:
        self.fixed = fixed
        self._weight: Tensor | None = None  # held, so that its memory is not given to another
        self._version = 0
        self._by_outputs: dict[int, Tensor] = {}

    def of(self, weight: Tensor, outputs: int) -> Tensor:
        """`transformed` of the layer's weight [O, I, r, r] as it is now."""
        if torch.compiler.is_compiling():  # a graph cannot look at versions
            return transformed(weight.detach(), outputs)
        # What inference mode makes cannot serve a training.
        with torch.inference_mode(False), torch.no_grad():
            return self._kept(weight, outputs)

    def _kept(self, weight: Tensor, outputs: int) -> Tensor:
        old = self._weight
        if old is None or old.data_ptr() != weight.data_ptr() or self._version != weight._version:
            self._weight, self._version, self._by_outputs = weight.detach(), weight._version, {}
        if outputs not in self._by_outputs:
            filters = transformed(weight.detach(), outputs)
            if type(filters) is not Tensor:  # without memory: someone counts bytes
                return filters
            if self.fixed:  # as the products of the forward read them, a tenth faster
                filters = filters.mT.contiguous().mT
            self._by_outputs[outputs] = filters
        return self._by_outputs[outputs]


@cache
def watch_optimizers() -> None:
    """From now on let every optimizer's step raise the versions of its parameters.

    Fused implementations write through pointers, which autograd does not see. A fused step that was
    skipped for a non-finite gradient counts as well: its filters are transformed once more.
    """

    def raise_versions(optimizer: Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            increment_version(group["params"])

    register_optimizer_step_post_hook(raise_versions)
