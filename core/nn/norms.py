"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function

NormName = Literal["instance", "batch", "none"]


Scale = Callable[[Tensor, Tensor], Tensor]
"""A norm's factor of biased variance and (constant) mean, all of the same shape."""


def normalised(
    x: Tensor,
    dims: tuple[int, ...],
    scale: Scale,
    gain: Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """(x - mean) * scale(var, mean) * gain + shift.

    Args:
        x: [N, C, H, W].
        dims: of the statistics: (2, 3) or (1, 2, 3).
        scale: the factor; its derivative by the variance is taken, by the mean is not.
        gain: [N, C, 1, 1] or [C, 1, 1].
        shift: the same.

    Returns:
        [N, C, H, W].
    """
    if _reduces_slowly(x):
        y: Tensor = _Normalised.apply(x, dims, scale, gain, shift)
        return y
    return _composed(x, dims, scale, gain, shift)


def _reduces_slowly(x: Tensor) -> bool:
    """Whether torch's variances and instance norms of `x` take forty times as long as its sums.

    They do in channels_last on a CPU. Tiled images (`core.tiling.norms`) have statistics of their
    own, half precision wants torch's, and a compiler makes its own loops.
    """
    if has_torch_function((x,)) or torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu" and x.dtype.itemsize >= 4 and not x.is_contiguous()


def _composed(
    x: Tensor, dims: tuple[int, ...], scale: Scale, gain: Tensor | None, shift: Tensor | None
) -> Tensor:
    var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    y = (x - mean) * scale(var, mean.detach())
    y = y if gain is None else y * gain
    return y if shift is None else y + shift


class _Normalised(torch.autograd.Function):
    """`normalised` by sums, with as few passes over the image as it can be done in.

    With k = scale * gain, y = x * k + (shift - mean * k), and the gradient is what differs from its
    mean of g * k + (x - mean) * c, where c = 2 / n * dL/dvar comes of two sums, of g and of g * x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dims: tuple[int, ...],
        scale: Scale,
        gain: Tensor | None,
        shift: Tensor | None,
    ) -> Tensor:
        mean = x.mean(dims, keepdim=True)
        y = x - mean
        var = torch.square(y, out=y).mean(dims, keepdim=True)
        ctx.dims, ctx.scale = dims, scale
        ctx.save_for_backward(x, gain, shift, mean, var)
        factor = scale(var, mean)
        factor = factor if gain is None else factor * gain
        offset = -mean * factor if shift is None else shift - mean * factor
        return torch.addcmul(offset, x, factor, out=y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, mean, var = ctx.saved_tensors
        (gradient,) = gradients
        wanted = [ctx.needs_input_grad[i] for i in (0, 3, 4)]
        if torch.is_grad_enabled():  # derivatives of the gradient
            inputs = [t for t, want in zip((x, gain, shift), wanted, strict=True) if want]
            y = _composed(x, ctx.dims, ctx.scale, gain, shift)
            found = iter(torch.autograd.grad(y, inputs, gradient, create_graph=True))
            to_x, to_gain, to_shift = (next(found) if want else None for want in wanted)
            return to_x, None, None, to_gain, to_shift
        with torch.enable_grad():
            var = var.detach().requires_grad_()  # what is saved stays as it is for a second time
            scale = ctx.scale(var, mean)
            (slope,) = torch.autograd.grad(scale.sum(), var)
        scale = scale.detach()
        per_channel = gradient.sum((2, 3), keepdim=True)
        products = gradient * x
        along = products.sum((2, 3), keepdim=True) - mean * per_channel
        factor, by_scale = (scale, along) if gain is None else (scale * gain, along * gain)
        number = x.numel() // mean.numel()
        slant = by_scale.sum_to_size(mean.shape) * slope * (2 / number)
        level = (per_channel * factor).sum_to_size(mean.shape) / number
        to_x = torch.addcmul(-level - mean * slant, x, slant, out=products)
        to_x = torch.addcmul(to_x, gradient, factor, out=to_x)
        return (
            to_x,
            None,
            None,
            (along * scale).sum_to_size(gain.shape) if wanted[1] else None,
            per_channel.sum_to_size(shift.shape) if wanted[2] else None,
        )


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without scale, shift and running statistics, fast in every layout."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        if not _reduces_slowly(input) or input[0, 0].numel() == 1:
            return super().forward(input)
        return normalised(input, (2, 3), lambda var, _: (var + self.eps).rsqrt())


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
            return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)
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
