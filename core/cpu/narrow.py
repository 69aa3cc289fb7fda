"""Convolutions from and to the few channels of an image, as a CPU does them faster.

Its convolutions fill vectors with channels of the output; an image's three leave thirteen of
sixteen lanes empty. Where an image is what comes out, forwards or as a gradient, its pixels are
therefore worked out as cells: the four pixels of a 2x2 cell are twelve channels of a coarser image.
The sums are the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def to_few(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, faster where O is small.

    x is [N, I, H, W] and weight [O, I, r, r].
    """
    if any((size - weight.shape[2]) % 2 == 0 for size in x.shape[2:]):  # an odd size comes out
        return F.conv2d(x, weight, bias, padding=padding)
    # One kernel for each pixel of a cell, shifted to where the pixel is.
    shifted = [F.pad(weight, (dx, 1 - dx, dy, 1 - dy)) for dy in (0, 1) for dx in (0, 1)]
    kernels = torch.stack(shifted, 1).flatten(0, 1)
    biases = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(x, kernels, biases, stride=2, padding=padding), 2)


def transposed_to_few(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """`F.conv_transpose2d(x, weight, bias, stride, padding)`, faster where O is small.

    x is [N, I, H, W] and weight [I, O, r, r].
    """
    taps = weight.shape[2]
    if stride == 1 and padding < taps:
        return to_few(x, weight.transpose(0, 1).flip(2, 3), bias, taps - 1 - padding)
    # Pixels at the same place of a cell of stride * stride see the same taps of the kernel.
    reach = -(-taps // stride)
    rest = reach * stride - taps
    places = F.pad(weight, (0, rest, 0, rest)).unflatten(3, (reach, stride))
    places = places.unflatten(2, (reach, stride)).flip(2, 4)  # [I, O, reach, stride, reach, stride]
    kernels = places.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
    biases = None if bias is None else bias.repeat_interleave(stride**2)
    y = F.pixel_shuffle(F.conv2d(x, kernels, biases, padding=reach - 1), stride)
    height, width = (size - rest - padding for size in y.shape[2:])
    return y[..., padding:height, padding:width]


def from_few(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """`F.conv2d(x, weight, bias, stride, padding)`, whose way back is faster where I is small.

    x is [N, I, H, W] and weight [O, I, r, r].
    """
    y: Tensor = _FromFew.apply(x, weight, bias, stride, padding)
    return y


class _FromFew(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x, *of_others = ctx.needs_input_grad[:3]
        to_x = to_weight = to_bias = None
        if of_x:
            to_x = transposed_to_few(gradient, weight, None, ctx.stride)
            # Without the padding, which kernels need not reach on the right and at the bottom.
            height, width = (a - b for a, b in zip(x.shape[2:], to_x.shape[2:], strict=True))
            cut = ctx.padding
            to_x = F.pad(to_x, (-cut, width + cut, -cut, height + cut))
        if any(of_others):
            _, to_weight, to_bias = torch.ops.aten.convolution_backward(
                *(gradient, x, weight, [len(weight)]),
                *([ctx.stride] * 2, [ctx.padding] * 2, [1, 1]),
                *(False, [0, 0], 1, [False, *of_others]),
            )
        return to_x, to_weight, to_bias, None, None
