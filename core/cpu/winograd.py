"""Convolutions by minimal filtering (Winograd), on a CPU.

Lavin and Gray, CVPR 2016: F(m, r) takes a tile of t = m + r - 1 inputs to m outputs of a filter of
r taps by t products instead of m * r; over both axes 64 instead of 324 for F(6, 3). cuDNN does this
by itself; CPU libraries do not. Here the transforms are matrix products too, over rows and columns
of a tile at once, because those run at full speed without being compiled. Same function to float32
rounding: about 1e-5 of the largest output, where the direct sum has 1e-7.

Convolutions of stride 2 are left alone: as four phases of stride 1 they were slower than directly.

The way back is the transposed algorithm: the gradient is transformed once, for the products that
give the input's gradient and for those that give the filters'. The other factor of these is the
transformed input, which is made once more: keeping it from the way there would take 3 % off a step,
for 2.25 (F(4, 3)) or 1.8 (F(6, 3)) times every input in memory.

The convolution and its three gradients are two operators, whose derivatives are these two again, so
that a gradient penalty may go through them. To torch.compile they are opaque, which keeps its
graphs small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from core.cpu.filters import KeptFilters, transformed
from core.cpu.scratch import scratch
from core.cpu.tiles import Mode, gather, scatter
from core.cpu.transforms import Transforms, transforms

MIN_CHANNELS = 32
"""Narrower convolutions are mostly transforms."""
SURE_CHANNELS = 128
"""From here on they are faster on most processors."""
MIN_PLACES = 512
"""Pixels of a batch; with fewer the filters' transform costs more than the products save.

Filters that are transformed only once are larger to read still. Their choices are made by one
image of the batch, so that its result is the same in any company."""
LARGE_PLACES = 4096
"""From here on F(6, 3), whose filters are nearly twice as large as those of F(4, 3)."""
LARGE_PLACES_FIXED = 2048
"""The same where filters are transformed only once."""


def _outputs_for(taps: int, places: int, fixed: bool = False) -> int:
    """Larger tiles save more products, and make larger filters to read."""
    large = places >= (LARGE_PLACES_FIXED if fixed else LARGE_PLACES)
    return 6 if taps == 3 and large else 4


def _size_out(size: int, taps: int, padding: int) -> int:
    return size + 2 * padding - taps + 1


def _of_input(x: Tensor, maps: Transforms, padding: int, mode: Mode) -> Tensor:
    """[N, I, H, W] to its spectrum [tiles, t * t, I]."""
    tiles = gather(x, maps.outputs, maps.tile, padding, mode)
    return _mapped(maps.to_input, tiles, "input")


def _of_output(y: Tensor, maps: Transforms) -> Tensor:
    """[N, O, H', W'] to a spectrum [tiles, t * t, O], by the transpose of `_to_output`."""
    return _mapped(maps.to_output.T, gather(y, maps.outputs, maps.outputs), "output")


def _mapped(matrix: Tensor, tiles: Tensor, place: str) -> Tensor:
    """A transform [J, K] of tiles [tiles, K, C], in the scratch memory of that place."""
    number, _, channels = tiles.shape
    found = scratch(place, number, len(matrix), channels, like=tiles)
    return torch.bmm(matrix.expand(number, *matrix.shape), tiles, out=found)


def _times(spectrum: Tensor, filters: Tensor) -> Tensor:
    """[tiles, t * t, I] and [t * t, I, O] to [tiles, t * t, O]."""
    # A tile's products side by side, as the transforms take them, and not as bmm would put them.
    products = scratch("products", *spectrum.shape[:2], filters.shape[2], like=spectrum)
    torch.bmm(spectrum.transpose(0, 1), filters, out=products.transpose(0, 1))
    return products


def _to_output(products: Tensor, y: Tensor, maps: Transforms, bias: Tensor | None) -> Tensor:
    """Products [tiles, t * t, O] to what `y` [N, O, H', W'] then is."""
    if bias is not None:
        products[:, maps.every_output] += bias
    scatter(_mapped(maps.to_output, products, "tiles"), y, maps.outputs, maps.outputs)
    return y


def _to_input(products: Tensor, x: Tensor, maps: Transforms, padding: int, mode: Mode) -> Tensor:
    """[tiles, t * t, I] to what `x` [N, I, H, W] then is, by the transpose of `_of_input`."""
    tiles = _mapped(maps.to_input.T, products, "tiles")
    scatter(tiles, x, maps.outputs, maps.tile, padding, mode)
    return x


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(
    x: Tensor, weight: Tensor, filters: Tensor, bias: Tensor | None, padding: int, mode: str
) -> Tensor:
    """[N, I, H, W] to [N, O, H', W'].

    `weight` is there for its gradient; what convolves are its transformed `filters`.
    """
    maps = _maps(filters, weight)
    spectrum = _of_input(x, maps, padding, cast(Mode, mode))
    products = _times(spectrum, filters.transpose(1, 2))
    return _to_output(products, _convolved(x, len(weight), maps.taps, padding), maps, bias)


@torch.library.custom_op("minimal_filtering::gradients", mutates_args=())
def _gradients(
    gradient: Tensor,
    weight: Tensor,
    x: Tensor | None,
    filters: Tensor,
    padding: int,
    mode: str,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Those of x, weight and bias, from [N, O, H', W']; an empty tensor for what is not `wanted`.

    The gradient of x needs `filters`, that of the weight x.
    """
    maps = _maps(filters, weight)
    taps = maps.taps
    back = _of_output(gradient, maps)
    to_x, to_weight, to_bias = (gradient.new_empty(0) for _ in range(3))
    if wanted[0]:
        image = _convolved(gradient, weight.shape[1], taps, taps - 1 - padding)
        to_x = _to_input(_times(back, filters), image, maps, padding, cast(Mode, mode))
    if wanted[1]:
        assert x is not None
        spectrum = _of_input(x, maps, padding, cast(Mode, mode))
        products = torch.bmm(back.permute(1, 2, 0), spectrum.transpose(0, 1))
        sums = maps.to_filter.T @ products.flatten(1)
        to_weight = sums.view(taps, taps, *weight.shape[:2]).permute(2, 3, 0, 1)
        to_weight = to_weight.contiguous(memory_format=torch.channels_last)
    if wanted[2]:
        to_bias = back[:, maps.every_output].sum(0)
    return to_x, to_weight, to_bias


def _outputs_of(filters: Tensor, taps: int) -> int:
    """The m of F(m, r) that filters [t * t, O, I] are for."""
    return math.isqrt(len(filters)) - taps + 1


def _maps(filters: Tensor, weight: Tensor) -> Transforms:
    taps = weight.shape[2]
    return transforms(_outputs_of(filters, taps), taps, weight.dtype)


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
    x: Tensor, weight: Tensor, filters: Tensor, _: Tensor | None, padding: int, *__: Any
) -> Tensor:
    return _convolved(x, len(weight), weight.shape[2], padding)


@_gradients.register_fake
def _(gradient: Tensor, weight: Tensor, *form: Any) -> tuple[Tensor, Tensor, Tensor]:
    (*_, padding, _, wanted), taps = form, weight.shape[2]
    found = (
        _convolved(gradient, weight.shape[1], taps, taps - 1 - padding),
        _empty_image(*weight.shape, like=gradient),
        gradient.new_empty(len(weight)),
    )
    a, b, c = (t if want else t.new_empty(0) for t, want in zip(found, wanted, strict=True))
    return a, b, c


def _save_convolve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, filters, _, *ctx.form = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(weight, x if ctx.needs_input_grad[1] else None, filters)


def _convolve_backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:  # as autograd gives a 0 on the way back of a gradient
        return (None,) * 6
    of_x, of_weight, _, of_bias, *_ = ctx.needs_input_grad
    wanted = of_x, of_weight, of_bias
    found = _gradients(gradient, *ctx.saved_tensors, *ctx.form, wanted)
    to_x, to_weight, to_bias = (t if want else None for t, want in zip(found, wanted, strict=True))
    return to_x, to_weight, None, to_bias, None, None


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, padding, mode, wanted = inputs
    ctx.save_for_backward(*tensors)
    ctx.form = padding, mode
    empty = [t for t, want in zip(output, wanted, strict=True) if not want]
    ctx.mark_non_differentiable(*empty)
    ctx.set_materialize_grads(False)


def _gradients_backward(ctx: Any, *along: Tensor | None) -> tuple[Tensor | None, ...]:
    """All three gradients are linear in the upstream one, and bilinear otherwise."""
    upstream, weight, x, filters = ctx.saved_tensors
    of_upstream, of_weight, of_x, *_ = ctx.needs_input_grad
    along_x, along_weight, along_bias = along
    to_upstream = to_weight = to_x = None

    if along_weight is not None:
        along_filters = transformed(along_weight.detach(), _outputs_of(filters, weight.shape[2]))
    if of_upstream:
        terms = []
        if along_x is not None:
            terms.append(_convolve(along_x, weight, filters, along_bias, *ctx.form))
        elif along_bias is not None:
            terms.append(along_bias[:, None, None].expand_as(upstream))
        if along_weight is not None:
            terms.append(_convolve(x, along_weight, along_filters, None, *ctx.form))
        to_upstream = sum(terms[1:], terms[0]) if terms else None
    if of_weight and along_x is not None:
        wanted = [False, True, False]
        _, to_weight, _ = _gradients(upstream, weight, along_x, filters, *ctx.form, wanted)
    if of_x and along_weight is not None:
        wanted = [True, False, False]
        to_x, _, _ = _gradients(upstream, along_weight, None, along_filters, *ctx.form, wanted)
    return to_upstream, to_weight, to_x, *[None] * 4


_convolve.register_autograd(_convolve_backward, setup_context=_save_convolve)
_gradients.register_autograd(_gradients_backward, setup_context=_save_gradients)


def suits(x: Tensor, weight: Tensor, padding: int, mode: Mode, *, one: bool = False) -> bool:
    """Tell whether `conv2d` may do a convolution, and might be faster than a direct one.

    With `one` that depends on one image of the batch, whose result is then the same in any.
    """
    places = _places(x[:1] if one else x, weight.shape[2], padding)
    mirrors = mode != "reflect" or min(x.shape[2:]) > 1  # otherwise torch says what is wrong
    wide = places >= MIN_PLACES and min(weight.shape[:2]) >= MIN_CHANNELS
    return weight.shape[2] in (3, 4) and padding <= 2 and mirrors and wide


def _places(x: Tensor, taps: int, padding: int) -> int:
    """Pixels that a convolution of x gives."""
    return x.shape[0] * math.prod(_size_out(size, taps, padding) for size in x.shape[2:])


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    mode: Mode = "zeros",
    kept: KeptFilters | None = None,
) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)` by minimal filtering.

    Args:
        x: [N, I, H, W].
        weight: [O, I, r, r], r 3 or 4.
        bias: [O] or None.
        padding: on every side.
        mode: of the padding; if not zeros, it is 1.
        kept: where the filters of `weight` are kept, if they are.

    Returns:
        [N, O, H + 2 * padding - r + 1, W + 2 * padding - r + 1].
    """
    taps = weight.shape[2]
    places = _places(x[:1] if kept is not None and kept.fixed else x, taps, padding)
    if kept is None:
        filters = transformed(weight.detach(), _outputs_for(taps, places))
    else:
        filters = kept.of(weight, _outputs_for(taps, places, kept.fixed))
    y: Tensor = _convolve(x, weight, filters, bias, padding, mode)
    return y
