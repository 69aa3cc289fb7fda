"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["instance", "batch", "none"]
Scale = Callable[[Tensor, Tensor], Tensor]
"""A norm's factor of biased variance and (constant) mean, all of the same shape."""


class Normalise(nn.Module):
    """(x - mean) * scale(var, mean) * gain + shift, for norms with a rule of their own.

    Args:
        dims: of the statistics: (2, 3) or (1, 2, 3).
    """

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(
        self, x: Tensor, scale: Scale, gain: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """[N, C, H, W] to the same shape.

        Args:
            x: the image.
            scale: the factor; its derivative by the variance is taken, by the mean is not.
            gain: [N, C, 1, 1] or [C, 1, 1].
            shift: the same.
        """
        var, mean = torch.var_mean(x, self.dims, correction=0, keepdim=True)
        y = (x - mean) * scale(var, mean.detach())
        y = y if gain is None else y * gain
        return y if shift is None else y + shift


def instance_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """`F.instance_norm` by the statistics of x [N, C, H, W], with a right gradient in any layout.

    On a CPU torch (2.13, 2.14) silently gives a batch of one a wrong gradient of x where that of
    the result arrives in channels_last; it is made contiguous first.
    """
    y = F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    if y.requires_grad and y.device.type == "cpu":
        y.register_hook(lambda gradient: None if gradient is None else gradient.contiguous())
    return y


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without scale, shift and running statistics; see `instance_norm`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        return instance_norm(input, eps=self.eps)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that can also normalise each image by its own statistics.

    That is what the official pix2pix does at test time, by leaving its networks in train mode with
    one image per batch (`core.nn.modes.published_test_mode`). Here it holds for any batch, and
    running statistics are neither used nor changed.
    """

    per_image = False
    recomputing = False
    """The forward runs a second time for its gradients; the statistics have seen this batch."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        if self.per_image:
            return instance_norm(input, self.weight, self.bias, self.eps)
        if self.recomputing and self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            # Copies, not None: torch checks that a second forward saves what the first did.
            mean, var = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(input, mean, var, self.weight, self.bias, True, 0.0, self.eps)
        return super().forward(input)


@contextmanager
def recomputing(module: nn.Module) -> Iterator[None]:
    """Within, forwards of `module` leave the running statistics of its batch norms alone."""
    norms = [m for m in module.modules() if isinstance(m, BatchNorm2d)]
    for norm in norms:
        norm.recomputing = True
    try:
        yield
    finally:
        for norm in norms:
            norm.recomputing = False


def make_norm(name: NormName) -> Callable[[int], nn.Module]:
    """A factory channels -> layer, as the official CycleGAN and pix2pix configure them.

    Instance norm has no scale, no shift and no running statistics (eps 1e-5, biased variance), so
    it is the same function in train and eval mode. Batch norm is affine with momentum 0.1.
    """
    factories: dict[NormName, Callable[[int], nn.Module]] = {
        "instance": InstanceNorm2d,
        "batch": partial(BatchNorm2d, affine=True, track_running_stats=True),
        "none": lambda _channels: nn.Identity(),
    }
    return factories[name]


def conv_bias(name: NormName) -> bool:
    """Whether a convolution in front of this norm carries a bias.

    The official code gives one for instance norm only, where it has no effect, and none for
    `none`, where it would; released checkpoints depend on it.
    """
    return name == "instance"
