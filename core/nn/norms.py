"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NormName = Literal["instance", "instance_affine", "batch", "none"]
Scale = Callable[[Tensor, Tensor], Tensor]
"""A norm's factor of biased variance and (constant) mean, all of the same shape."""


class Normalise(nn.Module):
    """(x - mean) * scale(var, mean) * gain + shift, for norms with a rule of their own.

    The statistics are over `dims`: (2, 3) or (1, 2, 3).
    """

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(
        self, x: Tensor, scale: Scale, gain: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """Map [N, C, H, W] to the same shape.

        `gain` and `shift` are [N, C, 1, 1] or [C, 1, 1]; `scale` is derived by the variance only.
        """
        var, mean = torch.var_mean(x, self.dims, correction=0, keepdim=True)
        y = (x - mean) * scale(var, mean.detach())
        y = y if gain is None else y * gain
        return y if shift is None else y + shift


def instance_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Apply `F.instance_norm` to x [N, C, H, W], with a right gradient in any layout.

    On a CPU torch (2.13, 2.14) silently gives a batch of one a wrong gradient of x where that of
    the result arrives in channels_last; it is made contiguous first.
    """
    y = F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    if y.requires_grad and y.device.type == "cpu":
        y.register_hook(lambda gradient: None if gradient is None else gradient.contiguous())
    return y


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without running statistics; see `instance_norm`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return instance_norm(input, self.weight, self.bias, self.eps)


class SwitchedNorm(nn.Module):
    """What batch norms have besides their own mathematics: the switches of `core.nn.modes`."""

    per_image = False
    """Whether each image is normalised by its own statistics."""
    recomputing = False
    """Whether the forward runs again for its gradients; statistics have seen this batch then."""


class BatchNorm2d(SwitchedNorm, nn.BatchNorm2d):
    """Batch norm that can also normalise each image by its own statistics.

    That is what the official pix2pix does at test time, by leaving its networks in train mode with
    one image per batch (`core.nn.modes.published_test_mode`). Here it holds for any batch, and
    running statistics are neither used nor changed.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        if self.per_image:
            return instance_norm(input, self.weight, self.bias, self.eps)
        if self.recomputing and self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            # Copies, not None: torch checks that a second forward saves what the first did.
            mean, var = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(input, mean, var, self.weight, self.bias, True, 0.0, self.eps)
        return super().forward(input)


class SyncBatchNorm(SwitchedNorm, nn.SyncBatchNorm):
    """`BatchNorm2d` whose statistics are those of the images of all processes, on GPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, ...] to the same shape."""
        if self.per_image:
            return instance_norm(input, self.weight, self.bias, self.eps)
        if not (self.recomputing and self.training):
            return super().forward(input)
        buffers = [buffer.clone() for buffer in self.buffers()]
        y = super().forward(input)  # the others recompute too: their statistics are needed again
        for buffer, value in zip(self.buffers(), buffers, strict=True):
            buffer.copy_(value)
        return y


def synchronise(network: nn.Module) -> None:
    """Exchange every batch norm of a network for one over all processes, in place.

    Parameters and buffers stay the very tensors that they were, and keys stay.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm):
                made = SyncBatchNorm(
                    child.num_features,
                    child.eps,
                    child.momentum,
                    child.affine,
                    child.track_running_stats,
                )
                made.training = child.training
                made._parameters, made._buffers = child._parameters, child._buffers
                setattr(module, name, made)


def make_norm(name: NormName) -> Callable[[int], nn.Module]:
    """Return a factory channels -> layer, as the official CycleGAN and pix2pix configure them.

    Instance norm has no scale, no shift and no running statistics (eps 1e-5, biased variance), so
    it is the same function in train and eval mode; `instance_affine` adds a scale and a shift per
    channel, as many other codes do. Batch norm is affine with momentum 0.1.
    """
    factories: dict[NormName, Callable[[int], nn.Module]] = {
        "instance": InstanceNorm2d,
        "instance_affine": partial(InstanceNorm2d, affine=True),
        "batch": BatchNorm2d,
        "none": lambda _channels: nn.Identity(),
    }
    return factories[name]


def conv_bias(name: NormName) -> bool:
    """Tell whether a convolution in front of this norm carries a bias.

    The official code gives one for instance norm only, where it has no effect, and none for
    `none`, where it would; released checkpoints depend on it.
    """
    return name in ("instance", "instance_affine")
