"""Convolutions by minimal filtering (Winograd), on a CPU.

Lavin and Gray, CVPR 2016: F(m, r) takes a tile of t = m + r - 1 inputs to m outputs of a filter of
r taps by t products instead of m * r; over both axes 64 instead of 324 for F(6, 3). cuDNN does this
by itself; CPU libraries do not. Here the transforms are matrix products too, over rows and columns
of a tile at once, because those run at full speed without being compiled. Same function to float32
rounding: about 1e-5 of the largest output, where the direct sum has 1e-7.

Convolutions of stride 2 are left alone: as four phases of stride 1 they were slower than directly.

Convolution (with filters as they are, or mirrored: the way back) and the filters' gradient are two
operators, bilinear, whose derivatives are these two again, so that a gradient penalty may go
through them. To torch.compile they are opaque, which keeps its graphs small.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.winograd_tiles import gather, scatter

MIN_CHANNELS = 128
"""Narrower convolutions are mostly transforms."""
MIN_PLACES = 512
"""Pixels of a batch; with fewer the filters' transform costs more than the products save."""
LARGE_PLACES = 8192
"""From here on F(6, 3), whose filters are nearly twice as large as those of F(4, 3)."""
LARGE_PLACES_FIXED = 2048
"""The same where filters are transformed only once."""
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


class _Transforms:
    """Matrices of F(m, r) over rows and columns at once (Toom-Cook; the last point is infinity).

    Attributes:
        outputs: m of F(m, r).
        taps: r.
        tile: t = m + r - 1.
        every_output: place among t * t, at the point 1 of both axes, of the product that every
            output has once.
        to_input: [t * t, t * t]; of the paper's y = A^T [(G g G^T) * (B^T d B)] A, it is B^T.
        to_output: [m * m, t * t]; A^T.
        to_filter: [t * t, r * r]; G.
    """

    def __init__(self, outputs: int, taps: int, dtype: torch.dtype) -> None:
        self.outputs, self.taps = outputs, taps
        self.tile = outputs + taps - 1
        self.every_output = self.tile + 1
        points = np.array(_POINTS[: self.tile - 1])
        others = [np.delete(points, i) for i in range(len(points))]
        powers = np.vander(points, self.tile, increasing=True)
        infinity = np.eye(self.tile)[-1:]
        scale = np.array([np.prod(p - rest) for p, rest in zip(points, others, strict=True)])
        g = np.vstack([powers[:, :taps] / scale[:, None], infinity[:, -taps:]])
        a = np.vstack([powers[:, : self.outputs], infinity[:, -self.outputs :]])
        b = np.zeros((self.tile, self.tile))
        for row, roots in enumerate([*others, points]):
            b[row, : len(roots) + 1] = np.poly(roots)[::-1]
        self.to_input, self.to_output, self.to_filter = (
            torch.from_numpy(np.kron(matrix, matrix)).to(dtype) for matrix in (b, a.T, g)
        )


_transforms = cache(_Transforms)


def _transforms_for(taps: int, places: int, dtype: torch.dtype, fixed: bool = False) -> _Transforms:
    """Larger tiles save more products, and make larger filters to read."""
    large = places >= (LARGE_PLACES_FIXED if fixed else LARGE_PLACES)
    return _transforms(6 if taps == 3 and large else 4, taps, dtype)


def _size_out(size: int, taps: int, padding: int) -> int:
    return size + 2 * padding - taps + 1


def _filters(weight: Tensor, mirrored: bool, maps: _Transforms) -> Tensor:
    """[O, I, r, r] to [t * t, I, O], or mirrored to [t * t, O, I]: those of the way back."""
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    to_filter = maps.to_filter.flip(1) if mirrored else maps.to_filter
    filters = (to_filter @ taps).view(-1, *weight.shape[:2])
    return filters if mirrored else filters.transpose(1, 2)


def _empty_image(like: Tensor, *shape: int) -> Tensor:
    """[N, C, H, W] in channels_last."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _filtered(
    x: Tensor,
    filters: Tensor,
    padding: int,
    maps: _Transforms,
    bias: Tensor | None = None,
    positive: Tensor | None = None,
) -> Tensor:
    """[N, I, H, W] and [t * t, I, O] to [N, O, H', W']."""
    spectrum = maps.to_input @ gather(x, maps.outputs, maps.tile, padding, positive)
    # A tile's products side by side, as the transforms take them, and not as bmm would put them.
    products = spectrum.new_empty(*spectrum.shape[:2], filters.shape[2])
    torch.bmm(spectrum.transpose(0, 1), filters, out=products.transpose(0, 1))
    if bias is not None:
        products[:, maps.every_output] += bias
    sizes = (_size_out(size, maps.taps, padding) for size in x.shape[2:])
    y = _empty_image(x, x.shape[0], filters.shape[2], *sizes)
    scatter(maps.to_output @ products, y, maps.outputs)
    return y


def _places_out(x: Tensor, taps: int, padding: int) -> int:
    rows, columns = (_size_out(size, taps, padding) for size in x.shape[2:])
    return x.shape[0] * rows * columns


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mirrored: bool
) -> Tensor:
    """[N, I, H, W], [O, I, r, r] and [O] to [N, O, H', W'].

    Mirrored, by `weight.flip(2, 3).transpose(0, 1)`: from [N, O, H, W] to [N, I, H', W'].
    """
    taps = weight.shape[2]
    maps = _transforms_for(taps, _places_out(x, taps, padding), x.dtype)
    return _filtered(x, _filters(weight, mirrored, maps), padding, maps, bias)


@torch.library.custom_op("minimal_filtering::convolve_fixed", mutates_args=())
def _convolve_fixed(
    x: Tensor,
    filters: Tensor,
    back: Tensor,
    bias: Tensor | None,
    positive: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
    relu: bool,
) -> Tensor:
    """[N, I, H, W] to [N, O, H', W'] by filters that never change, transformed once.

    Args:
        x: the input.
        filters: `_filters` of F(m, r) as they are, [t * t, I, O].
        back: the same mirrored, [t * t, O, I].
        bias: [O], as little trained.
        positive: 0 instead of x where this is not positive.
        outputs: m.
        taps: r.
        padding: with zeros.
        relu: of the result.
    """
    maps = _transforms(outputs, taps, x.dtype)
    y = _filtered(x, filters, padding, maps, bias, positive)
    return y.relu_() if relu else y


@torch.library.custom_op("minimal_filtering::correlate", mutates_args=())
def _correlate(x: Tensor, gradient: Tensor, padding: int, taps: int) -> Tensor:
    """[N, I, H, W] and [N, O, H', W'] to [O, I, r, r]: the gradient of the filters."""
    maps = _transforms_for(taps, gradient[:, 0].numel(), x.dtype)
    inputs = maps.to_input @ gather(x, maps.outputs, maps.tile, padding)
    outputs = maps.to_output.T @ gather(gradient, maps.outputs, maps.outputs)
    products = torch.bmm(outputs.permute(1, 2, 0), inputs.transpose(0, 1))
    sums = maps.to_filter.T @ products.flatten(1)
    weight = sums.view(taps, taps, *products.shape[1:]).permute(2, 3, 0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mirrored: bool) -> Tensor:
    height, width = (_size_out(size, weight.shape[2], padding) for size in x.shape[2:])
    return _empty_image(x, x.shape[0], weight.shape[1 if mirrored else 0], height, width)


@_convolve_fixed.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    back: Tensor,
    bias: Tensor | None,
    positive: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
    relu: bool,
) -> Tensor:
    height, width = (_size_out(size, taps, padding) for size in x.shape[2:])
    return _empty_image(x, x.shape[0], filters.shape[2], height, width)


@_correlate.register_fake
def _(x: Tensor, gradient: Tensor, padding: int, taps: int) -> Tensor:
    return _empty_image(x, gradient.shape[1], x.shape[1], taps, taps)


def _save_convolve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding, ctx.mirrored = inputs[3:]


def _convolve_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
    taps = weight.shape[2]
    back = taps - 1 - ctx.padding
    to_weight = None
    if of_weight and ctx.mirrored:
        to_weight = _correlate(gradient, x, back, taps)
    elif of_weight:
        to_weight = _correlate(x, gradient, ctx.padding, taps)
    to_x = _convolve(gradient, weight, None, back, not ctx.mirrored) if of_x else None
    return to_x, to_weight, gradient.sum((0, 2, 3)) if of_bias else None, None, None


def _save_correlate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding = inputs[2]


def _correlate_gradients(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    x, gradient = ctx.saved_tensors
    of_x, of_gradient, *_ = ctx.needs_input_grad
    back = along.shape[2] - 1 - ctx.padding
    to_x = _convolve(gradient, along, None, back, True) if of_x else None
    to_gradient = _convolve(x, along, None, ctx.padding, False) if of_gradient else None
    return to_x, to_gradient, None, None


def _save_fixed(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, filters, back, _, positive, ctx.outputs, ctx.taps, ctx.padding, relu = inputs
    ctx.save_for_backward(filters, back, positive, output if relu else None)


def _convolve_fixed_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    filters, back, positive, output = ctx.saved_tensors
    padding = ctx.taps - 1 - ctx.padding
    to_x = _convolve_fixed(
        gradient, back, filters, None, output, ctx.outputs, ctx.taps, padding, False
    )
    if positive is not None:
        to_x = torch.where(positive > 0, to_x, 0)
    return to_x, *[None] * 8


_convolve.register_autograd(_convolve_gradients, setup_context=_save_convolve)
_correlate.register_autograd(_correlate_gradients, setup_context=_save_correlate)
_convolve_fixed.register_autograd(_convolve_fixed_gradients, setup_context=_save_fixed)


class FixedFilters:
    """The filters of a layer that is not trained, transformed on first use.

    Args:
        weight: [O, I, r, r], which never changes.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.detach()
        self._transformed: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, maps: _Transforms) -> tuple[Tensor, Tensor]:
        """Those of both ways, each t * t / (r * r) times the size of the weight."""
        if maps.outputs not in self._transformed:
            both = _filters(self._weight, False, maps), _filters(self._weight, True, maps)
            self._transformed[maps.outputs] = both
        return self._transformed[maps.outputs]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    fixed: FixedFilters | None = None,
    relu: bool = False,
) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, by minimal filtering where that is faster.

    Args:
        x: [N, I, H, W].
        weight: [O, I, r, r], r 3 or 4.
        bias: [O] or None.
        padding: with zeros.
        fixed: those of `weight`, where neither weight nor bias ever changes.
        relu: of the result; with fixed filters its way back costs nothing.

    Returns:
        [N, O, H + 2 * padding - r + 1, W + 2 * padding - r + 1].
    """
    taps = weight.shape[2]
    places = _places_out(x, taps, padding)
    # Autocast and GPUs have convolutions of their own that are faster still.
    exact = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    y: Tensor
    if not exact or places < MIN_PLACES or min(weight.shape[:2]) < MIN_CHANNELS:
        y = F.conv2d(x, weight, bias, padding=padding)
    elif fixed is None:
        y = _convolve(x, weight, bias, padding, False)
    else:
        maps = _transforms_for(taps, places, x.dtype, fixed=True)
        return _convolve_fixed(x, *fixed.of(maps), bias, None, maps.outputs, taps, padding, relu)
    return y.relu_() if relu else y


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 that convolves by `conv2d`."""

    fixed: FixedFilters | None = None
    """Of a layer that is not trained."""

    def forward(self, input: Tensor, *, relu: bool = False) -> Tensor:
        """[N, I, H, W] to [N, O, H', W'], then a ReLU if asked for."""
        return conv2d(input, self.weight, self.bias, int(self.padding[0]), self.fixed, relu)


def use_winograd(network: nn.Module, *, fixed: bool = False) -> None:
    """Let a network's convolutions go by minimal filtering, in place; parameters and names stay.

    A module with convolutions of another form has an attribute `winograd`, which is set.

    Args:
        network: as it is to run: on its device, in its layout.
        fixed: the network is never trained nor moved; its filters are transformed once.
    """
    for module in network.modules():
        if hasattr(module, "winograd"):
            setattr(module, "winograd", True)  # noqa: B010  (unknown to the type nn.Module)
        elif type(module) is nn.Conv2d and _is_ordinary(module):
            module.__class__ = WinogradConv2d
            if fixed:
                module.fixed = FixedFilters(module.weight)  # type: ignore[assignment]


def _is_ordinary(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size in ((3, 3), (4, 4))
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.padding_mode == "zeros"
        and layer.groups == 1
    )
