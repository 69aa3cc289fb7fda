"""Convolutions by minimal filtering (Winograd), on a CPU.

Lavin and Gray, CVPR 2016: F(m, r) takes a tile of t = m + r - 1 inputs to m outputs of a filter of
r taps by t products instead of m * r; over both axes 64 instead of 324 for F(6, 3). cuDNN does this
by itself; CPU libraries do not. Here the transforms are matrix products too, over rows and columns
of a tile at once, because those run at full speed without being compiled. Same function to float32
rounding: about 1e-5 of the largest output, where the direct sum has 1e-7.

Convolutions of stride 2 are left alone: as four phases of stride 1 they were slower than directly.

The way back is the transposed algorithm: the gradient is transformed once, for the products that
give the input's gradient and for those that give the filters', whose other factor is kept from the
way there. That is a third less to transform and to move than convolving with mirrored filters and
starting anew for the filters, for 2.25 (F(4, 3)) or 1.8 (F(6, 3)) times the input in memory.

The convolution and its three gradients are two operators, whose derivatives are these two again, so
that a gradient penalty may go through them. To torch.compile they are opaque, which keeps its
graphs small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from core.cpu.winograd_tiles import Mode, gather, scatter
from core.cpu.winograd_transforms import FixedFilters, Transforms, filters_of, transforms
from core.nn.padding import ReflectionPad2d, ReplicationPad2d

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


def _places_out(x: Tensor, taps: int, padding: int) -> int:
    rows, columns = (_size_out(size, taps, padding) for size in x.shape[2:])
    return x.shape[0] * rows * columns


def _of_input(x: Tensor, maps: Transforms, padding: int, mode: Mode = "zeros") -> Tensor:
    """[N, I, H, W] to its spectrum [tiles, t * t, I]."""
    return maps.to_input @ gather(x, maps.outputs, maps.tile, padding, mode)


def _of_output(y: Tensor, maps: Transforms, positive: Tensor | None = None) -> Tensor:
    """[N, O, H', W'] to a spectrum [tiles, t * t, O], by the transpose of `_to_output`."""
    return maps.to_output.T @ gather(y, maps.outputs, maps.outputs, positive=positive)


def _times(spectrum: Tensor, filters: Tensor) -> Tensor:
    """[tiles, t * t, I] and [t * t, I, O] to [tiles, t * t, O]."""
    # A tile's products side by side, as the transforms take them, and not as bmm would put them.
    products = spectrum.new_empty(*spectrum.shape[:2], filters.shape[2])
    torch.bmm(spectrum.transpose(0, 1), filters, out=products.transpose(0, 1))
    return products


def _to_output(products: Tensor, y: Tensor, maps: Transforms, bias: Tensor | None) -> Tensor:
    """Products [tiles, t * t, O] to what `y` [N, O, H', W'] then is."""
    if bias is not None:
        products[:, maps.every_output] += bias
    scatter(maps.to_output @ products, y, maps.outputs, maps.outputs)
    return y


def _to_input(products: Tensor, x: Tensor, maps: Transforms, padding: int, mode: Mode) -> Tensor:
    """[tiles, t * t, I] to what `x` [N, I, H, W] then is, by the transpose of `_of_input`."""
    scatter(maps.to_input.T @ products, x, maps.outputs, maps.tile, padding, mode)
    return x


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mode: str
) -> tuple[Tensor, Tensor]:
    """[N, I, H, W], [O, I, r, r] and [O] to [N, O, H', W'], and to the spectrum of x."""
    taps = weight.shape[2]
    maps = transforms(_outputs_for(taps, _places_out(x, taps, padding)), taps, x.dtype)
    spectrum = _of_input(x, maps, padding, cast(Mode, mode))
    products = _times(spectrum, filters_of(weight, maps).transpose(1, 2))
    y = _convolved(x, len(weight), taps, padding)
    return _to_output(products, y, maps, bias), spectrum


@torch.library.custom_op("minimal_filtering::gradients", mutates_args=())
def _gradients(
    gradient: Tensor,
    weight: Tensor,
    x: Tensor,
    spectrum: Tensor | None,
    padding: int,
    mode: str,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Those of x, weight and bias, from [N, O, H', W']; an empty tensor for what is not `wanted`.

    `spectrum` is what `_convolve` gave beside its result, or None.
    """
    taps = weight.shape[2]
    maps = transforms(_outputs_for(taps, gradient[:, 0].numel()), taps, x.dtype)
    back = _of_output(gradient, maps)
    to_x, to_weight, to_bias = (gradient.new_empty(0) for _ in range(3))
    if wanted[0]:
        products = _times(back, filters_of(weight, maps))
        to_x = _to_input(products, _empty_image(*x.shape, like=x), maps, padding, cast(Mode, mode))
    if wanted[1]:
        if spectrum is None:
            spectrum = _of_input(x, maps, padding, cast(Mode, mode))
        products = torch.bmm(back.permute(1, 2, 0), spectrum.transpose(0, 1))
        sums = maps.to_filter.T @ products.flatten(1)
        to_weight = sums.view(taps, taps, *weight.shape[:2]).permute(2, 3, 0, 1)
        to_weight = to_weight.contiguous(memory_format=torch.channels_last)
    if wanted[2]:
        to_bias = back[:, maps.every_output].sum(0)
    return to_x, to_weight, to_bias


@torch.library.custom_op("minimal_filtering::convolve_fixed", mutates_args=())
def _convolve_fixed(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
    relu: bool,
) -> Tensor:
    """[N, I, H, W] to [N, O, H', W'] by filters that never change, transformed once.

    Args:
        x: the input.
        filters: `filters_of` of F(m, r).
        bias: [O], as little trained.
        outputs: m.
        taps: r.
        padding: with zeros.
        relu: of the result.
    """
    maps = transforms(outputs, taps, x.dtype)
    products = _times(_of_input(x, maps, padding), filters.transpose(1, 2))
    y = _to_output(products, _convolved(x, filters.shape[1], taps, padding), maps, bias)
    return y.relu_() if relu else y


@torch.library.custom_op("minimal_filtering::convolve_fixed_back", mutates_args=())
def _convolve_fixed_back(
    gradient: Tensor,
    filters: Tensor,
    positive: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
) -> Tensor:
    """The gradient of x in `_convolve_fixed`, 0 where `positive` [N, O, H', W'] is not."""
    maps = transforms(outputs, taps, gradient.dtype)
    products = _times(_of_output(gradient, maps, positive), filters)
    x = _convolved(gradient, filters.shape[2], taps, taps - 1 - padding)
    return _to_input(products, x, maps, padding, "zeros")


def _empty_image(*shape: int, like: Tensor) -> Tensor:
    """[N, C, H, W] in channels_last."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _convolved(x: Tensor, channels: int, taps: int, padding: int) -> Tensor:
    """What a convolution of x fills."""
    sizes = (_size_out(size, taps, padding) for size in x.shape[2:])
    return _empty_image(x.shape[0], channels, *sizes, like=x)


@_convolve.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mode: str
) -> tuple[Tensor, Tensor]:
    taps = weight.shape[2]
    outputs = _outputs_for(taps, _places_out(x, taps, padding))
    tiles = [-(-_size_out(size, taps, padding) // outputs) for size in x.shape[2:]]
    number, points = x.shape[0] * tiles[0] * tiles[1], (outputs + taps - 1) ** 2
    spectrum = x.new_empty(number, points, x.shape[1])
    return _convolved(x, weight.shape[0], taps, padding), spectrum


@_gradients.register_fake
def _(
    gradient: Tensor,
    weight: Tensor,
    x: Tensor,
    spectrum: Tensor | None,
    padding: int,
    mode: str,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    found = (
        _empty_image(*x.shape, like=x),
        _empty_image(*weight.shape, like=x),
        x.new_empty(len(weight)),
    )
    a, b, c = (t if want else x.new_empty(0) for t, want in zip(found, wanted, strict=True))
    return a, b, c


@_convolve_fixed.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
    relu: bool,
) -> Tensor:
    return _convolved(x, filters.shape[1], taps, padding)


@_convolve_fixed_back.register_fake
def _(
    gradient: Tensor,
    filters: Tensor,
    positive: Tensor | None,
    outputs: int,
    taps: int,
    padding: int,
) -> Tensor:
    return _convolved(gradient, filters.shape[2], taps, taps - 1 - padding)


def _save_convolve(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, ctx.padding, ctx.mode = inputs
    _, spectrum = output
    ctx.mark_non_differentiable(spectrum)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, spectrum if ctx.needs_input_grad[1] else None)


def _convolve_backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:3]
    x, weight, spectrum = ctx.saved_tensors
    found = _gradients(gradient, weight, x, spectrum, ctx.padding, ctx.mode, wanted)
    return *(t if want else None for t, want in zip(found, wanted, strict=True)), None, None


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.padding, ctx.mode, wanted = inputs[4:]
    empty = [t for t, want in zip(output, wanted, strict=True) if not want]
    ctx.mark_non_differentiable(*empty)
    ctx.set_materialize_grads(False)


def _gradients_backward(ctx: Any, *along: Tensor | None) -> tuple[Tensor | None, ...]:
    """All three gradients are linear in the upstream one, and bilinear otherwise."""
    upstream, weight, x = ctx.saved_tensors
    of_upstream, of_weight, of_x, *_ = ctx.needs_input_grad
    along_x, along_weight, along_bias = along
    form = ctx.padding, ctx.mode
    to_upstream = to_weight = to_x = None
    if of_upstream:
        terms = []
        if along_x is not None:
            terms.append(_convolve(along_x, weight, along_bias, *form)[0])
        elif along_bias is not None:
            terms.append(along_bias[:, None, None].expand_as(upstream))
        if along_weight is not None:
            terms.append(_convolve(x, along_weight, None, *form)[0])
        to_upstream = sum(terms[1:], terms[0]) if terms else None
    if of_weight and along_x is not None:
        _, to_weight, _ = _gradients(upstream, weight, along_x, None, *form, [False, True, False])
    if of_x and along_weight is not None:
        to_x, _, _ = _gradients(upstream, along_weight, x, None, *form, [True, False, False])
    return to_upstream, to_weight, to_x, *[None] * 4


def _save_fixed(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, filters, _, *ctx.form, relu = inputs
    ctx.save_for_backward(filters, output if relu else None)


def _convolve_fixed_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    filters, positive = ctx.saved_tensors
    return _convolve_fixed_back(gradient, filters, positive, *ctx.form), *[None] * 6


def _save_fixed_back(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, filters, positive, *ctx.form = inputs
    ctx.save_for_backward(filters, positive)


def _convolve_fixed_back_backward(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    filters, positive = ctx.saved_tensors
    to_gradient = _convolve_fixed(along, filters, None, *ctx.form, False)
    if positive is not None:
        to_gradient = torch.where(positive > 0, to_gradient, 0)
    return to_gradient, *[None] * 5


_convolve.register_autograd(_convolve_backward, setup_context=_save_convolve)
_gradients.register_autograd(_gradients_backward, setup_context=_save_gradients)
_convolve_fixed.register_autograd(_convolve_fixed_backward, setup_context=_save_fixed)
_convolve_fixed_back.register_autograd(
    _convolve_fixed_back_backward, setup_context=_save_fixed_back
)


_PAD = {"reflect": ReflectionPad2d(1), "replicate": ReplicationPad2d(1)}


def in_full_on_cpu(x: Tensor) -> bool:
    """Autocast and GPUs have convolutions of their own that are faster still."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


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
    y: Tensor
    mirrors = mode != "reflect" or min(x.shape[2:]) > 1  # otherwise torch says what is wrong
    wide = places >= MIN_PLACES and min(weight.shape[:2]) >= MIN_CHANNELS
    if not (in_full_on_cpu(x) and mirrors and wide):
        if mode != "zeros":
            x, padding = _PAD[mode](x), 0
        y = F.conv2d(x, weight, bias, padding=padding)
    elif fixed is None:
        y, _ = _convolve(x, weight, bias, padding, mode)
    else:
        outputs = _outputs_for(taps, places, fixed=True)
        filters = fixed.of(transforms(outputs, taps, x.dtype))
        return _convolve_fixed(x, filters, bias, outputs, taps, padding, relu)
    return y.relu_() if relu else y
