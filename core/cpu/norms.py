"""Norms in as few passes over the image as they can be done in.

In channels_last on a CPU, torch's variances and instance norms take forty times as long as sums.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.cpu import choices
from core.cpu.statistics import statistics
from core.nn import norms
from core.nn.norms import Scale


class Normalise(norms.Normalise):
    """`core.nn.norms.Normalise` by sums."""

    def forward(
        self, x: Tensor, scale: Scale, gain: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """As of the base class."""
        if not _reduces_slowly(x):
            return super().forward(x, scale, gain, shift)
        y: Tensor = _Normalised.apply(x, self.dims, scale, gain, shift)
        return y


class InstanceNorm2d(norms.InstanceNorm2d):
    """`core.nn.norms.InstanceNorm2d` by sums."""

    def forward(self, input: Tensor) -> Tensor:
        """As of the base class, by sums or on a contiguous copy, whichever is faster."""
        if not _reduces_slowly(input) or input[0, 0].numel() == 1:  # one pixel: torch refuses it
            return super().forward(input)
        graded = torch.is_grad_enabled() and input.requires_grad
        if not graded:  # the result of an image is to be the same in any batch
            return self._by_sums(input)
        key = "instance norm", tuple(input.shape), input.dtype, self.affine
        ways = {"copy": self._on_copy, "sums": self._by_sums}
        chosen = choices.current()
        way = chosen.known(key)
        if way is None:
            trials = {n: partial(_there_and_back, w, input) for n, w in ways.items()}
            way = chosen.fastest(key, trials)
        return ways[way](input)

    def _on_copy(self, x: Tensor) -> Tensor:
        """As torch does it."""
        y = super().forward(x.contiguous())
        return y.contiguous(memory_format=torch.channels_last)

    def _by_sums(self, x: Tensor) -> Tensor:
        gain, shift = (p if p is None else p[:, None, None] for p in (self.weight, self.bias))
        return Normalise((2, 3))(x, lambda var, _: (var + self.eps).rsqrt(), gain, shift)


def _there_and_back(norm: Callable[[Tensor], Tensor], x: Tensor) -> None:
    leaf = x.detach().requires_grad_()
    y = norm(leaf)
    torch.autograd.grad(y, leaf, y.detach())


def _reduces_slowly(x: Tensor) -> bool:
    """Tell images in channels_last.

    Tiled images (`core.tiling.norms`) have statistics of their own, images without memory none,
    half precision wants torch's, and a compiler makes its own loops.
    """
    if torch.compiler.is_compiling() or type(x) is not Tensor:
        return False
    return x.device.type == "cpu" and x.dtype.itemsize >= 4 and not x.is_contiguous()


class _Normalised(torch.autograd.Function):
    """`Normalise` by sums.

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
        mean, var = statistics(x, dims)
        ctx.dims, ctx.scale = dims, scale
        ctx.save_for_backward(x, gain, shift, mean, var)
        factor = scale(var, mean)
        factor = factor if gain is None else factor * gain
        offset = -mean * factor if shift is None else shift - mean * factor
        return torch.addcmul(offset, x, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, mean, var = ctx.saved_tensors
        (gradient,) = gradients
        wanted = [ctx.needs_input_grad[i] for i in (0, 3, 4)]
        if torch.is_grad_enabled():  # derivatives of the gradient
            inputs = [t for t, want in zip((x, gain, shift), wanted, strict=True) if want]
            y = norms.Normalise(ctx.dims)(x, ctx.scale, gain, shift)
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
