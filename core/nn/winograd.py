"""3x3 convolutions by Winograd's minimal filtering, on a CPU.

F(4x4, 3x3) of Lavin and Gray (CVPR 2016): tiles of 6x6 inputs become 36 matrix products with the
transformed filters, 2.25 multiplications an output instead of 9. cuDNN does this by itself; CPU
libraries do not. Here the transforms are matrix products too, over rows and columns of a tile at
once, because those run at full speed without being compiled. Same function to float32 rounding:
about 1e-5 of the largest output, where the direct sum has 1e-7.

Convolution and gradients are two operators, opaque to torch.compile, whose graphs stay small, and
closed under differentiation, so that a gradient penalty may go through them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_CHANNELS = 64
"""Narrower convolutions are mostly transforms."""
MIN_TILES = 16
"""With fewer tiles of 4x4 outputs the filters' transform costs more than the products save."""

# The paper's B^T (input), A^T (output) and G (filter) of one axis.
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
_FILTER = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


@cache
def _both_axes(matrix: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> Tensor:
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one).to(dtype)


def _num_tiles(size: int) -> int:
    return -(-size // 4)


def _filters(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] to [36, O, I]."""
    taps = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (_both_axes(_FILTER, weight.dtype) @ taps).view(36, *weight.shape[:2])


def _inputs(x: Tensor, padding: int) -> Tensor:
    """[N, I, H, W] to [36, tiles, I]."""
    channels, height, width = x.shape[1:]
    rows, columns = (_num_tiles(size + 2 * padding - 2) for size in (height, width))
    right, below = 4 * columns + 2 - width - padding, 4 * rows + 2 - height - padding
    # Channels last throughout: the matrix products want them side by side.
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, right, padding, below))
    tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)
    return (_both_axes(_INPUT, x.dtype) @ tiles.reshape(36, -1)).view(36, -1, channels)


def _outputs(products: Tensor, n: int, height: int, width: int) -> Tensor:
    """[36, tiles, O] to [N, O, height, width]."""
    rows, columns = _num_tiles(height), _num_tiles(width)
    tiles = _both_axes(_OUTPUT, products.dtype) @ products.flatten(1)
    y = tiles.view(4, 4, n, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
    y = y.reshape(n, 4 * rows, 4 * columns, -1)[:, :height, :width]
    return y.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _gradients(gradient: Tensor) -> Tensor:
    """[N, O, H, W], of the outputs, to [36, tiles, O]."""
    n, channels, height, width = gradient.shape
    rows, columns = _num_tiles(height), _num_tiles(width)
    below, right = 4 * rows - height, 4 * columns - width
    padded = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))
    tiles = padded.reshape(n, rows, 4, columns, 4, channels).permute(2, 4, 0, 1, 3, 5)
    matrix = _both_axes(_OUTPUT, gradient.dtype).T
    return (matrix @ tiles.reshape(16, -1)).view(36, -1, channels)


def _input_gradient(products: Tensor, x: Tensor, padding: int) -> Tensor:
    """[36, tiles, I] to the shape of x [N, I, H, W], the tiles' overlaps added up."""
    n, channels, height, width = x.shape
    rows, columns = (_num_tiles(size + 2 * padding - 2) for size in (height, width))
    matrix = _both_axes(_INPUT, x.dtype).T
    tiles = (matrix @ products.flatten(1)).view(6, 6, n, rows, columns, channels)
    cells = x.new_zeros(n, rows + 1, 4, columns + 1, 4, channels)
    for i in range(6):
        for j in range(6):
            down, across = i // 4, j // 4
            part = cells[:, down : down + rows, i % 4, across : across + columns, j % 4]
            part += tiles[i, j]
    whole = cells.view(n, 4 * rows + 4, 4 * columns + 4, channels)
    inner = whole[:, padding : padding + height, padding : padding + width].permute(0, 3, 1, 2)
    return inner.contiguous(memory_format=torch.channels_last)


def _filter_gradient(products: Tensor) -> Tensor:
    """[36, O, I] to [O, I, 3, 3]."""
    taps = _both_axes(_FILTER, products.dtype).T @ products.flatten(1)
    return taps.view(3, 3, *products.shape[1:]).permute(2, 3, 0, 1)


@torch.library.custom_op("i2i::winograd", mutates_args=())
def _convolve(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    n, _, height, width = x.shape
    products = torch.bmm(_inputs(x, padding), _filters(weight).transpose(1, 2))
    return _outputs(products, n, height + 2 * padding - 2, width + 2 * padding - 2)


@torch.library.custom_op("i2i::winograd_gradients", mutates_args=())
def _differentiate(
    x: Tensor, weight: Tensor, gradient: Tensor, padding: int, of_x: bool, of_weight: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of input and filters; one not asked for is empty."""
    spectrum = _gradients(gradient)
    x_gradient, weight_gradient = x.new_empty(0), x.new_empty(0)
    if of_x:
        x_gradient = _input_gradient(torch.bmm(spectrum, _filters(weight)), x, padding)
    if of_weight:
        products = torch.bmm(spectrum.transpose(1, 2), _inputs(x, padding))
        weight_gradient = _filter_gradient(products).contiguous()
    return x_gradient, weight_gradient


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    n, _, height, width = x.shape
    size = (n, weight.shape[0], height + 2 * padding - 2, width + 2 * padding - 2)
    return x.new_empty(size).to(memory_format=torch.channels_last)


@_differentiate.register_fake
def _(
    x: Tensor, weight: Tensor, gradient: Tensor, padding: int, of_x: bool, of_weight: bool
) -> tuple[Tensor, Tensor]:
    like_x = torch.empty_like(x, memory_format=torch.channels_last) if of_x else x.new_empty(0)
    return like_x, x.new_empty(weight.shape) if of_weight else x.new_empty(0)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.options = inputs[len(tensors) :]


def _convolve_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, _ = ctx.needs_input_grad
    gx, gw = _differentiate(x, weight, gradient, *ctx.options, of_x, of_weight)
    return gx if of_x else None, gw if of_weight else None, None


def _differentiate_backward(ctx: Any, along_x: Tensor, along_w: Tensor) -> tuple[Any, ...]:
    """Of <along_x, d/dx> + <along_w, d/dw>, which is bilinear in each: the same two operators."""
    x, weight, gradient = ctx.saved_tensors
    padding, has_x, has_weight = ctx.options
    # The gradient by x does not depend on x, nor that by the filters on the filters.
    of_x, of_weight, of_gradient = (
        needed and there
        for needed, there in zip(
            ctx.needs_input_grad, (has_weight, has_x, has_x or has_weight), strict=False
        )
    )
    parts = []
    if of_gradient and has_x:
        parts.append(_convolve(along_x, weight, padding))
    if of_gradient and has_weight:
        parts.append(_convolve(x, along_w, padding))
    gx = gw = None
    if of_x or of_weight:
        points = along_x if has_x else x, along_w if has_weight else weight
        found = _differentiate(*points, gradient, padding, of_x, of_weight)
        gx, gw = (g if there else None for g, there in zip(found, (of_x, of_weight), strict=True))
    return gx, gw, sum(parts) if parts else None, None, None, None


_convolve.register_autograd(_convolve_backward, setup_context=_keep_inputs)
_differentiate.register_autograd(_differentiate_backward, setup_context=_keep_inputs)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, by minimal filtering where that is faster.

    Args:
        x: [N, I, H, W].
        weight: [O, I, 3, 3].
        bias: [O] or None.
        padding: with zeros.

    Returns:
        [N, O, H + 2 * padding - 2, W + 2 * padding - 2]; channels last where it is faster.
    """
    tiles = x.shape[0]
    for size in x.shape[2:]:
        tiles *= _num_tiles(size + 2 * padding - 2)
    # Autocast and GPUs have convolutions of their own that are faster still.
    fits = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not fits or min(weight.shape[:2]) < MIN_CHANNELS or tiles < MIN_TILES:
        return F.conv2d(x, weight, bias, padding=padding)
    y: Tensor = _convolve(x, weight, padding)
    return y if bias is None else y + bias[:, None, None]


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of size 3 and stride 1 that convolves by `conv3x3`."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        return conv3x3(input, self.weight, self.bias, int(self.padding[0]))


def use_winograd(network: nn.Module) -> None:
    """Let a network's 3x3 convolutions go by `conv3x3`, in place; parameters and names stay.

    A module with 3x3 convolutions of another form has an attribute `winograd`, which is set.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain_3x3(module):
            module.__class__ = WinogradConv2d
        elif hasattr(module, "winograd"):
            setattr(module, "winograd", True)  # noqa: B010  (unknown to the type nn.Module)


def _is_plain_3x3(layer: nn.Conv2d) -> bool:
    return (
        (layer.kernel_size, layer.stride, layer.dilation) == ((3, 3), (1, 1), (1, 1))
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.padding_mode == "zeros"
        and layer.groups == 1
    )
