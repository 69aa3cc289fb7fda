"""Convolutions by minimal filtering (Winograd), on a CPU.

Lavin and Gray, CVPR 2016: F(m, r) takes a tile of t = m + r - 1 inputs to m outputs of a filter of
r taps by t products instead of m * r; over both axes 36 instead of 144 for F(4, 3). cuDNN does this
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

MIN_CHANNELS = 128
"""Narrower convolutions are mostly transforms."""
MIN_TILES = 32
"""With fewer tiles the filters' transform costs more than the products save."""
_OUTPUTS = {3: 4, 4: 2}
"""m for each r: larger tiles save more products and lose more digits."""
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0)


class _Transforms:
    """Matrices of F(m, r) over rows and columns at once (Toom-Cook; the last point is infinity).

    Attributes:
        outputs: m of F(m, r).
        tile: t = m + r - 1.
        to_input: [t * t, t * t]; of the paper's y = A^T [(G g G^T) * (B^T d B)] A, it is B^T.
        to_output: [m * m, t * t]; A^T.
        to_filter: [t * t, r * r]; G.
    """

    def __init__(self, taps: int, dtype: torch.dtype) -> None:
        self.outputs = _OUTPUTS[taps]
        self.tile = self.outputs + taps - 1
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


def _size_out(size: int, taps: int, padding: int) -> int:
    return size + 2 * padding - taps + 1


def _padded(x: Tensor, pads: list[int]) -> Tensor:
    """`F.pad`, which would copy where there is nothing to add."""
    return F.pad(x, pads) if any(pads) else x


def _filters(weight: Tensor, mirrored: bool) -> Tensor:
    """[O, I, r, r] to [t * t, I, O], or mirrored to [t * t, O, I]: those of the way back."""
    maps = _transforms(weight.shape[2], weight.dtype)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    to_filter = maps.to_filter.flip(1) if mirrored else maps.to_filter
    filters = (to_filter @ taps).view(-1, *weight.shape[:2])
    return filters if mirrored else filters.transpose(1, 2)


def _inputs(x: Tensor, taps: int, padding: int) -> Tensor:
    """[N, I, H, W] to [tiles, t * t, I]."""
    maps = _transforms(taps, x.dtype)
    step, side = maps.outputs, maps.tile
    pads = [0, 0]
    for size in (x.shape[3], x.shape[2]):
        tiles = -(-_size_out(size, taps, padding) // step)
        pads += [padding, step * tiles + taps - 1 - size - padding]
    # Channels last throughout: the matrix products want them side by side.
    padded = _padded(x.permute(0, 2, 3, 1), pads)
    cut = padded.unfold(1, side, step).unfold(2, side, step).permute(0, 1, 2, 4, 5, 3)
    return maps.to_input @ cut.reshape(-1, side * side, x.shape[1])


def _outputs(products: Tensor, taps: int, n: int, height: int, width: int) -> Tensor:
    """[tiles, t * t, O] to [N, O, height, width]."""
    maps = _transforms(taps, products.dtype)
    step = maps.outputs
    rows, columns = -(-height // step), -(-width // step)
    tiles = (maps.to_output @ products).view(n, rows, columns, step, step, -1)
    y = tiles.transpose(2, 3).reshape(n, step * rows, step * columns, -1)
    return y[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _output_gradients(gradient: Tensor, taps: int) -> Tensor:
    """[N, O, H, W] to [tiles, t * t, O]; the transpose of `_outputs`."""
    maps = _transforms(taps, gradient.dtype)
    step = maps.outputs
    n, channels, height, width = gradient.shape
    rows, columns = -(-height // step), -(-width // step)
    pads = [0, 0, 0, step * columns - width, 0, step * rows - height]
    padded = _padded(gradient.permute(0, 2, 3, 1), pads)
    tiles = padded.reshape(n, rows, step, columns, step, channels).transpose(2, 3)
    return maps.to_output.T @ tiles.reshape(-1, step * step, channels)


def _filtered(x: Tensor, filters: Tensor, taps: int, padding: int) -> Tensor:
    """[N, I, H, W] and [t * t, I, O] to [N, O, H', W']."""
    height, width = (_size_out(size, taps, padding) for size in x.shape[2:])
    spectrum = _inputs(x, taps, padding)
    # A tile's products side by side, as the transforms take them, and not as bmm would put them.
    products = spectrum.new_empty(*spectrum.shape[:2], filters.shape[2])
    torch.bmm(spectrum.transpose(0, 1), filters, out=products.transpose(0, 1))
    return _outputs(products, taps, x.shape[0], height, width)


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(x: Tensor, weight: Tensor, padding: int, mirrored: bool) -> Tensor:
    """[N, I, H, W] and [O, I, r, r] to [N, O, H', W'].

    Mirrored, by `weight.flip(2, 3).transpose(0, 1)`: from [N, O, H, W] to [N, I, H', W'].
    """
    return _filtered(x, _filters(weight, mirrored), weight.shape[2], padding)


@torch.library.custom_op("minimal_filtering::convolve_fixed", mutates_args=())
def _convolve_fixed(x: Tensor, filters: Tensor, back: Tensor, taps: int, padding: int) -> Tensor:
    """[N, I, H, W] to [N, O, H', W'] by filters that never change, transformed once.

    Args:
        x: the input.
        filters: `_filters(weight, mirrored=False)`, [t * t, I, O].
        back: `_filters(weight, mirrored=True)`, [t * t, O, I].
        taps: r.
        padding: with zeros.
    """
    return _filtered(x, filters, taps, padding)


@torch.library.custom_op("minimal_filtering::correlate", mutates_args=())
def _correlate(x: Tensor, gradient: Tensor, padding: int, taps: int) -> Tensor:
    """[N, I, H, W] and [N, O, H', W'] to [O, I, r, r]: the gradient of the filters."""
    spectrum = _output_gradients(gradient, taps).permute(1, 2, 0)
    products = torch.bmm(spectrum, _inputs(x, taps, padding).transpose(0, 1))
    sums = _transforms(taps, x.dtype).to_filter.T @ products.flatten(1)
    weight = sums.view(taps, taps, *products.shape[1:]).permute(2, 3, 0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, padding: int, mirrored: bool) -> Tensor:
    height, width = (_size_out(size, weight.shape[2], padding) for size in x.shape[2:])
    y = x.new_empty(x.shape[0], weight.shape[1 if mirrored else 0], height, width)
    return y.contiguous(memory_format=torch.channels_last)


@_convolve_fixed.register_fake
def _(x: Tensor, filters: Tensor, back: Tensor, taps: int, padding: int) -> Tensor:
    height, width = (_size_out(size, taps, padding) for size in x.shape[2:])
    y = x.new_empty(x.shape[0], filters.shape[2], height, width)
    return y.contiguous(memory_format=torch.channels_last)


@_correlate.register_fake
def _(x: Tensor, gradient: Tensor, padding: int, taps: int) -> Tensor:
    weight = x.new_empty(gradient.shape[1], x.shape[1], taps, taps)
    return weight.contiguous(memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding = inputs[2]


def _save_convolution(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _save(ctx, inputs, output)
    ctx.mirrored = inputs[3]


def _convolve_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, *_ = ctx.needs_input_grad
    taps = weight.shape[2]
    back = taps - 1 - ctx.padding
    to_weight = None
    if of_weight and ctx.mirrored:
        to_weight = _correlate(gradient, x, back, taps)
    elif of_weight:
        to_weight = _correlate(x, gradient, ctx.padding, taps)
    to_x = _convolve(gradient, weight, back, not ctx.mirrored) if of_x else None
    return to_x, to_weight, None, None


def _correlate_gradients(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    x, gradient = ctx.saved_tensors
    of_x, of_gradient, *_ = ctx.needs_input_grad
    back = along.shape[2] - 1 - ctx.padding
    to_x = _convolve(gradient, along, back, True) if of_x else None
    to_gradient = _convolve(x, along, ctx.padding, False) if of_gradient else None
    return to_x, to_gradient, None, None


def _save_fixed(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.taps, ctx.padding = inputs[3:]


def _convolve_fixed_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    filters, back = ctx.saved_tensors
    padding = ctx.taps - 1 - ctx.padding
    return _convolve_fixed(gradient, back, filters, ctx.taps, padding), None, None, None, None


_convolve_fixed.register_autograd(_convolve_fixed_gradients, setup_context=_save_fixed)
_convolve.register_autograd(_convolve_gradients, setup_context=_save_convolution)
_correlate.register_autograd(_correlate_gradients, setup_context=_save)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    fixed: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, by minimal filtering where that is faster.

    Args:
        x: [N, I, H, W].
        weight: [O, I, r, r], r 3 or 4.
        bias: [O] or None.
        padding: with zeros.
        fixed: `fixed_filters(weight)`, of a weight that never changes and wants no gradient.

    Returns:
        [N, O, H + 2 * padding - r + 1, W + 2 * padding - r + 1].
    """
    tiles = x.shape[0]
    for size in x.shape[2:]:
        tiles *= -(-_size_out(size, weight.shape[2], padding) // _OUTPUTS[weight.shape[2]])
    # Autocast and GPUs have convolutions of their own that are faster still.
    exact = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not exact or min(weight.shape[:2]) < MIN_CHANNELS or tiles < MIN_TILES:
        return F.conv2d(x, weight, bias, padding=padding)
    y: Tensor
    if fixed is None:
        y = _convolve(x, weight, padding, False)
    else:
        y = _convolve_fixed(x, *fixed, weight.shape[2], padding)
    return y if bias is None else y + bias[:, None, None]


def fixed_filters(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The transformed filters of both ways, four times the size of [O, I, r, r] each."""
    with torch.no_grad():
        return _filters(weight, mirrored=False), _filters(weight, mirrored=True)


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 that convolves by `conv2d`."""

    fixed: tuple[Tensor, Tensor] | None = None
    """`fixed_filters` of a layer that is not trained."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        return conv2d(input, self.weight, self.bias, int(self.padding[0]), self.fixed)


def use_winograd(network: nn.Module, *, fixed: bool = False) -> None:
    """Let a network's convolutions go by minimal filtering, in place; parameters and names stay.

    A module with convolutions of another form has an attribute `winograd`, which is set.

    Args:
        network: as it is to run: on its device, in its layout.
        fixed: the network is never trained nor moved; transform its filters once.
    """
    for module in network.modules():
        if hasattr(module, "winograd"):
            setattr(module, "winograd", True)  # noqa: B010  (unknown to the type nn.Module)
        elif type(module) is nn.Conv2d and _is_ordinary(module):
            module.__class__ = WinogradConv2d
            if fixed and min(module.weight.shape[:2]) >= MIN_CHANNELS:
                module.fixed = fixed_filters(module.weight)  # type: ignore[assignment]


def _is_ordinary(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size in ((3, 3), (4, 4))
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.padding_mode == "zeros"
        and layer.groups == 1
    )
