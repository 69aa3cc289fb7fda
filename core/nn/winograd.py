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

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.padding import ReflectionPad2d, ReplicationPad2d
from core.nn.winograd_tiles import Mode, gather, scatter
from core.nn.winograd_transforms import FixedFilters, Transforms, filters_of, transforms

MIN_CHANNELS = 128
"""Narrower convolutions are mostly transforms."""
MIN_PLACES = 512
"""Pixels of a batch; with fewer the filters' transform costs more than the products save."""
LARGE_PLACES = 8192
"""From here on F(6, 3), whose filters are nearly twice as large as those of F(4, 3)."""
LARGE_PLACES_FIXED = 2048
"""The same where filters are transformed only once."""


def _outputs_for(taps: int, places: int, fixed: bool = False) -> int:
    """Larger tiles save more products, and make larger filters to read."""
    large = places >= (LARGE_PLACES_FIXED if fixed else LARGE_PLACES)
    return 6 if taps == 3 and large else 4


def _size_out(size: int, taps: int, padding: int) -> int:
    return size + 2 * padding - taps + 1


def _empty_image(like: Tensor, *shape: int) -> Tensor:
    """[N, C, H, W] in channels_last."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _filtered(
    x: Tensor,
    filters: Tensor,
    padding: int,
    maps: Transforms,
    bias: Tensor | None = None,
    *,
    positive: Tensor | None = None,
    mode: Mode = "zeros",
    back: Mode = "zeros",
) -> Tensor:
    """[N, I, H, W] and [t * t, I, O] to [N, O, H', W']."""
    padded = padding + (back != "zeros")
    tiles = gather(x, maps.outputs, maps.tile, padded, mode, positive)
    spectrum = maps.to_input @ tiles
    # A tile's products side by side, as the transforms take them, and not as bmm would put them.
    products = spectrum.new_empty(*spectrum.shape[:2], filters.shape[2])
    torch.bmm(spectrum.transpose(0, 1), filters, out=products.transpose(0, 1))
    if bias is not None:
        products[:, maps.every_output] += bias
    sizes = (_size_out(size, maps.taps, padding) for size in x.shape[2:])
    y = _empty_image(x, x.shape[0], filters.shape[2], *sizes)
    scatter(maps.to_output @ products, y, maps.outputs, back)
    return y


def _places_out(x: Tensor, taps: int, padding: int) -> int:
    rows, columns = (_size_out(size, taps, padding) for size in x.shape[2:])
    return x.shape[0] * rows * columns


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mirrored: bool, mode: str
) -> Tensor:
    """[N, I, H, W], [O, I, r, r] and [O] to [N, O, H', W'].

    Mirrored, by `weight.flip(2, 3).transpose(0, 1)`: from [N, O, H, W] to [N, I, H', W'].

    Where the outermost pixel of the padding repeats the image, mirrored is the way back of that,
    and has one pixel less of padding than what it computes.
    """
    taps = weight.shape[2]
    maps = transforms(_outputs_for(taps, _places_out(x, taps, padding)), taps, mirrored, x.dtype)
    filters = filters_of(weight, maps)
    if mirrored:
        return _filtered(x, filters, padding, maps, bias, back=cast(Mode, mode))
    return _filtered(x, filters.transpose(1, 2), padding, maps, bias, mode=cast(Mode, mode))


@torch.library.custom_op("minimal_filtering::convolve_fixed", mutates_args=())
def _convolve_fixed(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    positive: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
    mirrored: bool,
    relu: bool,
) -> Tensor:
    """[N, I, H, W] to [N, O, H', W'] by filters that never change, transformed once.

    Args:
        x: the input.
        filters: `filters_of` of F(m, r).
        bias: [O], as little trained.
        positive: 0 instead of x where this is not positive.
        outputs: m.
        taps: r.
        padding: with zeros.
        mirrored: the way back: from [N, O, H, W] to [N, I, H', W'].
        relu: of the result.
    """
    maps = transforms(outputs, taps, mirrored, x.dtype)
    filters = filters if mirrored else filters.transpose(1, 2)
    y = _filtered(x, filters, padding, maps, bias, positive=positive)
    return y.relu_() if relu else y


@torch.library.custom_op("minimal_filtering::correlate", mutates_args=())
def _correlate(x: Tensor, gradient: Tensor, padding: int, taps: int, mode: str) -> Tensor:
    """[N, I, H, W] and [N, O, H', W'] to [O, I, r, r]: the gradient of the filters."""
    maps = transforms(_outputs_for(taps, gradient[:, 0].numel()), taps, False, x.dtype)
    inputs = maps.to_input @ gather(x, maps.outputs, maps.tile, padding, cast(Mode, mode))
    outputs = maps.to_output.T @ gather(gradient, maps.outputs, maps.outputs)
    products = torch.bmm(outputs.permute(1, 2, 0), inputs.transpose(0, 1))
    sums = maps.to_filter.T @ products.flatten(1)
    weight = sums.view(taps, taps, *products.shape[1:]).permute(2, 3, 0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


@_convolve.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mirrored: bool, mode: str
) -> Tensor:
    height, width = (_size_out(size, weight.shape[2], padding) for size in x.shape[2:])
    return _empty_image(x, x.shape[0], weight.shape[1 if mirrored else 0], height, width)


@_convolve_fixed.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    positive: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
    mirrored: bool,
    relu: bool,
) -> Tensor:
    height, width = (_size_out(size, taps, padding) for size in x.shape[2:])
    return _empty_image(x, x.shape[0], filters.shape[2 if mirrored else 1], height, width)


@_correlate.register_fake
def _(x: Tensor, gradient: Tensor, padding: int, taps: int, mode: str) -> Tensor:
    return _empty_image(x, gradient.shape[1], x.shape[1], taps, taps)


def _save_convolve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding, ctx.mirrored, ctx.mode = inputs[3:]


def _convolve_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
    taps = weight.shape[2]
    back = taps - 1 - ctx.padding
    to_weight = None
    if of_weight and ctx.mirrored:
        to_weight = _correlate(gradient, x, back, taps, ctx.mode)
    elif of_weight:
        to_weight = _correlate(x, gradient, ctx.padding, taps, ctx.mode)
    to_x = None
    if of_x:
        to_x = _convolve(gradient, weight, None, back, not ctx.mirrored, ctx.mode)
    return to_x, to_weight, gradient.sum((0, 2, 3)) if of_bias else None, None, None, None


def _save_correlate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding, _, ctx.mode = inputs[2:]


def _correlate_gradients(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    x, gradient = ctx.saved_tensors
    of_x, of_gradient, *_ = ctx.needs_input_grad
    back = along.shape[2] - 1 - ctx.padding
    to_x = to_gradient = None
    if of_x:
        to_x = _convolve(gradient, along, None, back, True, ctx.mode)
    if of_gradient:
        to_gradient = _convolve(x, along, None, ctx.padding, False, ctx.mode)
    return to_x, to_gradient, None, None, None


def _save_fixed(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, filters, _, positive, ctx.outputs, ctx.taps, ctx.padding, ctx.mirrored, relu = inputs
    ctx.save_for_backward(filters, positive, output if relu else None)


def _convolve_fixed_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    filters, positive, output = ctx.saved_tensors
    form = ctx.outputs, ctx.taps, ctx.taps - 1 - ctx.padding, not ctx.mirrored
    to_x = _convolve_fixed(gradient, filters, None, output, *form, False)
    if positive is not None:
        to_x = torch.where(positive > 0, to_x, 0)
    return to_x, *[None] * 8


_convolve.register_autograd(_convolve_gradients, setup_context=_save_convolve)
_correlate.register_autograd(_correlate_gradients, setup_context=_save_correlate)
_convolve_fixed.register_autograd(_convolve_fixed_gradients, setup_context=_save_fixed)


_PAD = {"reflect": ReflectionPad2d(1), "replicate": ReplicationPad2d(1)}


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    fixed: FixedFilters | None = None,
    relu: bool = False,
    mode: Mode = "zeros",
) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, by minimal filtering where that is faster.

    Args:
        x: [N, I, H, W].
        weight: [O, I, r, r], r 3 or 4.
        bias: [O] or None.
        padding: with zeros.
        fixed: those of `weight`, where neither weight nor bias ever changes.
        relu: of the result; with fixed filters its way back costs nothing.
        mode: of the padding; if not zeros, it is 1, and the filters are not fixed.

    Returns:
        [N, O, H + 2 * padding - r + 1, W + 2 * padding - r + 1].
    """
    taps = weight.shape[2]
    places = _places_out(x, taps, padding)
    # Autocast and GPUs have convolutions of their own that are faster still.
    exact = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    y: Tensor
    mirrors = mode != "reflect" or min(x.shape[2:]) > 1  # otherwise torch says what is wrong
    wide = places >= MIN_PLACES and min(weight.shape[:2]) >= MIN_CHANNELS
    if not (exact and mirrors and wide):
        if mode != "zeros":
            x, padding = _PAD[mode](x), 0
        y = F.conv2d(x, weight, bias, padding=padding)
    elif fixed is None:
        y = _convolve(x, weight, bias, padding, False, mode)
    else:
        outputs = _outputs_for(taps, places, fixed=True)
        filters = fixed.of(transforms(outputs, taps, False, x.dtype))
        return _convolve_fixed(x, filters, bias, None, outputs, taps, padding, False, relu)
    return y.relu_() if relu else y


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 that convolves by `conv2d`."""

    fixed: FixedFilters | None = None
    """Of a layer that is not trained."""
    mode: Mode = "zeros"
    """Otherwise it pads by 1 itself."""

    def forward(self, input: Tensor, *, relu: bool = False) -> Tensor:
        """[N, I, H, W] to [N, O, H', W'], then a ReLU if asked for."""
        padding = int(self.padding[0]) if self.mode == "zeros" else 1
        return conv2d(input, self.weight, self.bias, padding, self.fixed, relu, self.mode)


class _LeftToConvolution(ReflectionPad2d):
    """A padding that the convolution behind it does."""

    def forward(self, input: Tensor) -> Tensor:
        return input


def use_winograd(network: nn.Module, *, fixed: bool = False) -> None:
    """Let a network's convolutions go by minimal filtering, in place; parameters and names stay.

    Reflection padding in front of one, in an `nn.Sequential` or as the attribute `pad` beside
    `conv`, becomes part of it. A module with convolutions of another form has an attribute
    `winograd`, which is set.

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
    for pad, conv in () if fixed else _padded_convolutions(network):
        pad.__class__, conv.mode = _LeftToConvolution, "reflect"


def _padded_convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, WinogradConv2d]]:
    for module in network.modules():
        couples: Iterable[tuple[Any, Any]] = [
            (getattr(module, "pad", None), getattr(module, "conv", None))
        ]
        if isinstance(module, nn.Sequential):
            couples = pairwise(module)
        for pad, conv in couples:
            narrow = type(pad) is ReflectionPad2d and pad.padding == (1, 1, 1, 1)
            wide = isinstance(conv, WinogradConv2d) and conv.kernel_size == (3, 3)
            if narrow and wide and conv.padding == (0, 0):
                yield pad, conv


def _is_ordinary(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size in ((3, 3), (4, 4))
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding in ((0, 0), (1, 1), (2, 2))
        and layer.padding_mode == "zeros"
        and layer.groups == 1
    )
