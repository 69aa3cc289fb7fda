"""Convolutions by minimal filtering (Winograd), on a CPU.

Lavin and Gray, CVPR 2016: F(m, r) takes a tile of t = m + r - 1 inputs to m outputs of a filter of
r taps by t products instead of m * r; over both axes 36 instead of 144 for F(4, 3). cuDNN does this
by itself; CPU libraries do not. Here the transforms are matrix products too, over rows and columns
of a tile at once, because those run at full speed without being compiled. Same function to float32
rounding: about 1e-5 of the largest output, where the direct sum has 1e-7.

Convolutions of stride 2 are left alone: as four phases of stride 1 they were slower than directly.

Convolution, transposed convolution and the filters' gradient are three operators, each bilinear and
the derivatives of each the two others, so that a gradient penalty may go through them. To
torch.compile they are opaque, which keeps its graphs small.
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


def _filters(weight: Tensor) -> Tensor:
    """[O, I, r, r] to [t * t, O, I]."""
    maps = _transforms(weight.shape[2], weight.dtype)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    return (maps.to_filter @ taps).view(-1, *weight.shape[:2])


def _inputs(x: Tensor, taps: int, padding: int) -> Tensor:
    """[N, I, H, W] to [t * t, tiles, I]."""
    maps = _transforms(taps, x.dtype)
    step, side = maps.outputs, maps.tile
    pads = [0, 0]
    for size in (x.shape[3], x.shape[2]):
        tiles = -(-_size_out(size, taps, padding) // step)
        pads += [padding, step * tiles + taps - 1 - size - padding]
    # Channels last throughout: the matrix products want them side by side.
    padded = F.pad(x.permute(0, 2, 3, 1), pads)
    cut = padded.unfold(1, side, step).unfold(2, side, step).permute(4, 5, 0, 1, 2, 3)
    return (maps.to_input @ cut.reshape(side * side, -1)).view(side * side, -1, x.shape[1])


def _outputs(products: Tensor, taps: int, n: int, height: int, width: int) -> Tensor:
    """[t * t, tiles, O] to [N, O, height, width]."""
    maps = _transforms(taps, products.dtype)
    step = maps.outputs
    rows, columns = -(-height // step), -(-width // step)
    tiles = (maps.to_output @ products.flatten(1)).view(step, step, n, rows, columns, -1)
    y = tiles.permute(2, 3, 0, 4, 1, 5).reshape(n, step * rows, step * columns, -1)
    return _as_channels_last(y[:, :height, :width])


def _output_gradients(gradient: Tensor, taps: int) -> Tensor:
    """[N, O, H, W] to [t * t, tiles, O]; the transpose of `_outputs`."""
    maps = _transforms(taps, gradient.dtype)
    step = maps.outputs
    n, channels, height, width = gradient.shape
    rows, columns = -(-height // step), -(-width // step)
    pads = (0, 0, 0, step * columns - width, 0, step * rows - height)
    padded = F.pad(gradient.permute(0, 2, 3, 1), pads)
    tiles = padded.reshape(n, rows, step, columns, step, channels).permute(2, 4, 0, 1, 3, 5)
    return (maps.to_output.T @ tiles.reshape(step * step, -1)).view(maps.tile**2, -1, channels)


def _input_gradients(
    products: Tensor, taps: int, padding: int, n: int, height: int, width: int
) -> Tensor:
    """[t * t, tiles, I] to [N, I, height, width]; the transpose of `_inputs`: overlaps add up."""
    maps = _transforms(taps, products.dtype)
    step, side = maps.outputs, maps.tile
    rows, columns = (-(-_size_out(size, taps, padding) // step) for size in (height, width))
    tiles = (maps.to_input.T @ products.flatten(1)).view(side, side, n, rows, columns, -1)
    # Cells of `step` pixels; what a tile has beyond its cell belongs to the next ones.
    beyond = -(-side // step) - 1
    cells = products.new_zeros(n, rows + beyond, step, columns + beyond, step, tiles.shape[-1])
    for i in range(side):
        for j in range(side):
            top, left = i // step, j // step
            cells[:, top : top + rows, i % step, left : left + columns, j % step] += tiles[i, j]
    whole = cells.flatten(3, 4).flatten(1, 2)
    return _as_channels_last(whole[:, padding : padding + height, padding : padding + width])


def _as_channels_last(x: Tensor) -> Tensor:
    """[N, H, W, C] to [N, C, H, W] of that layout."""
    return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """[N, I, H, W] and [O, I, r, r] to [N, O, H', W']."""
    taps = weight.shape[2]
    height, width = (_size_out(size, taps, padding) for size in x.shape[2:])
    products = torch.bmm(_inputs(x, taps, padding), _filters(weight).transpose(1, 2))
    return _outputs(products, taps, x.shape[0], height, width)


@torch.library.custom_op("minimal_filtering::convolve_back", mutates_args=())
def _convolve_back(
    gradient: Tensor, weight: Tensor, padding: int, height: int, width: int
) -> Tensor:
    """[N, O, H', W'] and [O, I, r, r] to [N, I, height, width]: the transposed convolution."""
    taps = weight.shape[2]
    products = torch.bmm(_output_gradients(gradient, taps), _filters(weight))
    return _input_gradients(products, taps, padding, gradient.shape[0], height, width)


@torch.library.custom_op("minimal_filtering::correlate", mutates_args=())
def _correlate(x: Tensor, gradient: Tensor, padding: int, taps: int) -> Tensor:
    """[N, I, H, W] and [N, O, H', W'] to [O, I, r, r]: the gradient of the filters."""
    spectrum = _output_gradients(gradient, taps).transpose(1, 2)
    products = torch.bmm(spectrum, _inputs(x, taps, padding))
    sums = _transforms(taps, x.dtype).to_filter.T @ products.flatten(1)
    weight = sums.view(taps, taps, *products.shape[1:]).permute(2, 3, 0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    height, width = (_size_out(size, weight.shape[2], padding) for size in x.shape[2:])
    y = x.new_empty(x.shape[0], weight.shape[0], height, width)
    return y.contiguous(memory_format=torch.channels_last)


@_convolve_back.register_fake
def _(gradient: Tensor, weight: Tensor, padding: int, height: int, width: int) -> Tensor:
    x = gradient.new_empty(gradient.shape[0], weight.shape[1], height, width)
    return x.contiguous(memory_format=torch.channels_last)


@_correlate.register_fake
def _(x: Tensor, gradient: Tensor, padding: int, taps: int) -> Tensor:
    weight = x.new_empty(gradient.shape[1], x.shape[1], taps, taps)
    return weight.contiguous(memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding = inputs[2]


def _convolve_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, _ = ctx.needs_input_grad
    return (
        _convolve_back(gradient, weight, ctx.padding, *x.shape[2:]) if of_x else None,
        _correlate(x, gradient, ctx.padding, weight.shape[2]) if of_weight else None,
        None,
    )


def _convolve_back_gradients(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    gradient, weight = ctx.saved_tensors
    of_gradient, of_weight, *_ = ctx.needs_input_grad
    return (
        _convolve(along, weight, ctx.padding) if of_gradient else None,
        _correlate(along, gradient, ctx.padding, weight.shape[2]) if of_weight else None,
        *(None, None, None),
    )


def _correlate_gradients(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    x, gradient = ctx.saved_tensors
    of_x, of_gradient, *_ = ctx.needs_input_grad
    return (
        _convolve_back(gradient, along, ctx.padding, *x.shape[2:]) if of_x else None,
        _convolve(x, along, ctx.padding) if of_gradient else None,
        *(None, None),
    )


_convolve.register_autograd(_convolve_gradients, setup_context=_save)
_convolve_back.register_autograd(_convolve_back_gradients, setup_context=_save)
_correlate.register_autograd(_correlate_gradients, setup_context=_save)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, by minimal filtering where that is faster.

    Args:
        x: [N, I, H, W].
        weight: [O, I, r, r], r 3 or 4.
        bias: [O] or None.
        padding: with zeros.

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
    y: Tensor = _convolve(x, weight, padding)
    return y if bias is None else y + bias[:, None, None]


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 that convolves by `conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        return conv2d(input, self.weight, self.bias, int(self.padding[0]))


def use_winograd(network: nn.Module) -> None:
    """Let a network's convolutions go by minimal filtering, in place; parameters and names stay.

    A module with convolutions of another form has an attribute `winograd`, which is set.
    """
    for module in network.modules():
        if hasattr(module, "winograd"):
            setattr(module, "winograd", True)  # noqa: B010  (unknown to the type nn.Module)
        elif type(module) is nn.Conv2d and _is_ordinary(module):
            module.__class__ = WinogradConv2d


def _is_ordinary(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size in ((3, 3), (4, 4))
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.padding_mode == "zeros"
        and layer.groups == 1
    )
