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
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from core.nn.padding import ReflectionPad2d
from core.nn.winograd_tiles import gather, scatter

MIN_CHANNELS = 128
"""Narrower convolutions are mostly transforms."""
MIN_PLACES = 512
"""Pixels of a batch; with fewer the filters' transform costs more than the products save."""
LARGE_PLACES = 8192
"""From here on F(6, 3), whose filters are nearly twice as large as those of F(4, 3)."""
LARGE_PLACES_FIXED = 2048
"""The same where filters are transformed only once."""
Array = NDArray[np.float64]
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


class _Transforms:
    """Matrices of F(m, r) over rows and columns at once.

    Mirrored filters, those of the way back, have at the point 1 / p the values that the filters
    have at p, but for a factor: with `mirrored` the matrices are for the same transformed filters.

    Args:
        outputs: m of F(m, r).
        taps: r.
        mirrored: for the way back.
        dtype: of the matrices.

    Attributes:
        outputs: m.
        taps: r.
        tile: t = m + r - 1.
        every_output: place among t * t, at the point 1 of both axes, of the product that every
            output has once.
        to_input: [t * t, t * t]; of the paper's y = A^T [(G g G^T) * (B^T d B)] A, it is B^T.
        to_output: [m * m, t * t]; A^T.
        to_filter: [t * t, r * r]; G, of filters as they are.
    """

    def __init__(self, outputs: int, taps: int, mirrored: bool, dtype: torch.dtype) -> None:
        self.outputs, self.taps = outputs, taps
        self.tile = outputs + taps - 1
        self.every_output = self.tile + 1
        points = np.array([*_POINTS[: self.tile - 1], np.inf])
        b, a, g = _toom_cook(points, outputs, taps)
        if mirrored:
            with np.errstate(divide="ignore"):
                b, a, back = _toom_cook(1 / points, outputs, taps)
            # Rows differ by a factor: it goes to the input.
            b *= (back[:, ::-1] * g).sum(1, keepdims=True) / np.square(g).sum(1, keepdims=True)
        self.to_input, self.to_output, self.to_filter = (
            torch.from_numpy(np.kron(matrix, matrix)).to(dtype) for matrix in (b, a.T, g)
        )


def _toom_cook(points: Array, outputs: int, taps: int) -> tuple[Array, Array, Array]:
    """B^T, A and G for these points, of which one is infinity; a row for each."""
    tile = len(points)
    finite = np.isfinite(points)
    others = [np.delete(points, i)[np.delete(finite, i)] for i in range(tile)]
    powers = np.vander(np.where(finite, points, 0), tile, increasing=True)

    def evaluated(size: int) -> Array:
        return np.where(finite[:, None], powers[:, :size], np.eye(size)[-1])

    scale = [np.prod(p - rest) if np.isfinite(p) else 1.0 for p, rest in zip(points, others)]
    b = np.zeros((tile, tile))
    for row, roots in enumerate(others):
        b[row, : len(roots) + 1] = np.poly(roots)[::-1]
    return b, evaluated(outputs), evaluated(taps) / np.array(scale)[:, None]


_transforms = cache(_Transforms)


def _outputs_for(taps: int, places: int, fixed: bool = False) -> int:
    """Larger tiles save more products, and make larger filters to read."""
    large = places >= (LARGE_PLACES_FIXED if fixed else LARGE_PLACES)
    return 6 if taps == 3 and large else 4


def _size_out(size: int, taps: int, padding: int) -> int:
    return size + 2 * padding - taps + 1


_kept: dict[tuple[int, ...], tuple[Tensor, Tensor]] | None = None
"""Weights and their `_filters`, while these are kept."""


@contextmanager
def keeping_filters() -> Iterator[None]:
    """Within, filters are transformed once for all forwards and backwards, until they change.

    Who changes weights says so by `forget_filters`; torch does not tell of fused optimizers' steps.
    """
    global _kept
    _kept = {}
    try:
        yield
    finally:
        _kept = None


def forget_filters(weights: Iterable[Tensor]) -> None:
    """These have changed."""
    places = {weight.data_ptr() for weight in weights}
    for key in [key for key in _kept or () if key[0] in places]:
        del _kept[key]


def _filters(weight: Tensor, maps: _Transforms) -> Tensor:
    """[O, I, r, r] to [t * t, O, I], the same for both ways."""
    key = weight.data_ptr(), *weight.shape, *weight.stride(), maps.outputs
    if _kept is not None and key in _kept:
        return _kept[key][1]
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    filters = (maps.to_filter @ taps).view(-1, *weight.shape[:2])
    if _kept is not None:
        _kept[key] = weight, filters  # as long as the weight is held, its place is not taken
    return filters


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
    *,
    positive: Tensor | None = None,
    reflect: bool = False,
    fold: bool = False,
) -> Tensor:
    """[N, I, H, W] and [t * t, I, O] to [N, O, H', W']."""
    tiles = gather(x, maps.outputs, maps.tile, padding + fold, reflect=reflect, positive=positive)
    spectrum = maps.to_input @ tiles
    # A tile's products side by side, as the transforms take them, and not as bmm would put them.
    products = spectrum.new_empty(*spectrum.shape[:2], filters.shape[2])
    torch.bmm(spectrum.transpose(0, 1), filters, out=products.transpose(0, 1))
    if bias is not None:
        products[:, maps.every_output] += bias
    sizes = (_size_out(size, maps.taps, padding) for size in x.shape[2:])
    y = _empty_image(x, x.shape[0], filters.shape[2], *sizes)
    scatter(maps.to_output @ products, y, maps.outputs, fold=fold)
    return y


def _places_out(x: Tensor, taps: int, padding: int) -> int:
    rows, columns = (_size_out(size, taps, padding) for size in x.shape[2:])
    return x.shape[0] * rows * columns


@torch.library.custom_op("minimal_filtering::convolve", mutates_args=())
def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mirrored: bool, reflect: bool
) -> Tensor:
    """[N, I, H, W], [O, I, r, r] and [O] to [N, O, H', W'].

    Mirrored, by `weight.flip(2, 3).transpose(0, 1)`: from [N, O, H, W] to [N, I, H', W'].

    Reflecting, the outermost pixel of the padding mirrors the image; if also mirrored, it is the
    way back of that, with one pixel less of padding than without.
    """
    taps = weight.shape[2]
    maps = _transforms(_outputs_for(taps, _places_out(x, taps, padding)), taps, mirrored, x.dtype)
    filters = _filters(weight, maps)
    if mirrored:
        return _filtered(x, filters, padding, maps, bias, fold=reflect)
    return _filtered(x, filters.transpose(1, 2), padding, maps, bias, reflect=reflect)


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
        filters: `_filters` of F(m, r).
        bias: [O], as little trained.
        positive: 0 instead of x where this is not positive.
        outputs: m.
        taps: r.
        padding: with zeros.
        mirrored: the way back: from [N, O, H, W] to [N, I, H', W'].
        relu: of the result.
    """
    maps = _transforms(outputs, taps, mirrored, x.dtype)
    filters = filters if mirrored else filters.transpose(1, 2)
    y = _filtered(x, filters, padding, maps, bias, positive=positive)
    return y.relu_() if relu else y


@torch.library.custom_op("minimal_filtering::correlate", mutates_args=())
def _correlate(x: Tensor, gradient: Tensor, padding: int, taps: int, reflect: bool) -> Tensor:
    """[N, I, H, W] and [N, O, H', W'] to [O, I, r, r]: the gradient of the filters."""
    maps = _transforms(_outputs_for(taps, gradient[:, 0].numel()), taps, False, x.dtype)
    inputs = maps.to_input @ gather(x, maps.outputs, maps.tile, padding, reflect=reflect)
    outputs = maps.to_output.T @ gather(gradient, maps.outputs, maps.outputs)
    products = torch.bmm(outputs.permute(1, 2, 0), inputs.transpose(0, 1))
    sums = maps.to_filter.T @ products.flatten(1)
    weight = sums.view(taps, taps, *products.shape[1:]).permute(2, 3, 0, 1)
    return weight.contiguous(memory_format=torch.channels_last)


@_convolve.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, mirrored: bool, reflect: bool
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
def _(x: Tensor, gradient: Tensor, padding: int, taps: int, reflect: bool) -> Tensor:
    return _empty_image(x, gradient.shape[1], x.shape[1], taps, taps)


def _save_convolve(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding, ctx.mirrored, ctx.reflect = inputs[3:]


def _convolve_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
    taps = weight.shape[2]
    back = taps - 1 - ctx.padding
    to_weight = None
    if of_weight and ctx.mirrored:
        to_weight = _correlate(gradient, x, back, taps, ctx.reflect)
    elif of_weight:
        to_weight = _correlate(x, gradient, ctx.padding, taps, ctx.reflect)
    to_x = None
    if of_x:
        to_x = _convolve(gradient, weight, None, back, not ctx.mirrored, ctx.reflect)
    return to_x, to_weight, gradient.sum((0, 2, 3)) if of_bias else None, None, None, None


def _save_correlate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.padding, _, ctx.reflect = inputs[2:]


def _correlate_gradients(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
    x, gradient = ctx.saved_tensors
    of_x, of_gradient, *_ = ctx.needs_input_grad
    back = along.shape[2] - 1 - ctx.padding
    to_x = to_gradient = None
    if of_x:
        to_x = _convolve(gradient, along, None, back, True, ctx.reflect)
    if of_gradient:
        to_gradient = _convolve(x, along, None, ctx.padding, False, ctx.reflect)
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


class FixedFilters:
    """The filters of a layer that is not trained, transformed on first use.

    Args:
        weight: [O, I, r, r], which never changes.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.detach()
        self._transformed: dict[int, Tensor] = {}

    def of(self, maps: _Transforms) -> Tensor:
        """Those of both ways, t * t / (r * r) times the size of the weight."""
        if maps.outputs not in self._transformed:
            self._transformed[maps.outputs] = _filters(self._weight, maps)
        return self._transformed[maps.outputs]


_reflected = ReflectionPad2d(1)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    fixed: FixedFilters | None = None,
    relu: bool = False,
    reflect: bool = False,
) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=padding)`, by minimal filtering where that is faster.

    Args:
        x: [N, I, H, W].
        weight: [O, I, r, r], r 3 or 4.
        bias: [O] or None.
        padding: with zeros.
        fixed: those of `weight`, where neither weight nor bias ever changes.
        relu: of the result; with fixed filters its way back costs nothing.
        reflect: the padding is 1 and mirrors the image; not with fixed filters.

    Returns:
        [N, O, H + 2 * padding - r + 1, W + 2 * padding - r + 1].
    """
    taps = weight.shape[2]
    places = _places_out(x, taps, padding)
    # Autocast and GPUs have convolutions of their own that are faster still.
    exact = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    y: Tensor
    if not exact or places < MIN_PLACES or min(weight.shape[:2]) < MIN_CHANNELS:
        x, padding = (_reflected(x), 0) if reflect else (x, padding)
        y = F.conv2d(x, weight, bias, padding=padding)
    elif fixed is None:
        y = _convolve(x, weight, bias, padding, False, reflect)
    else:
        outputs = _outputs_for(taps, places, fixed=True)
        filters = fixed.of(_transforms(outputs, taps, False, x.dtype))
        return _convolve_fixed(x, filters, bias, None, outputs, taps, padding, False, relu)
    return y.relu_() if relu else y


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of stride 1 that convolves by `conv2d`."""

    fixed: FixedFilters | None = None
    """Of a layer that is not trained."""
    reflect = False
    """It pads by 1 itself, mirroring the image."""

    def forward(self, input: Tensor, *, relu: bool = False) -> Tensor:
        """[N, I, H, W] to [N, O, H', W'], then a ReLU if asked for."""
        padding = 1 if self.reflect else int(self.padding[0])
        return conv2d(input, self.weight, self.bias, padding, self.fixed, relu, self.reflect)


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
        pad.__class__, conv.reflect = _LeftToConvolution, True


def _padded_convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, WinogradConv2d]]:
    for module in network.modules():
        couples = pairwise(module) if isinstance(module, nn.Sequential) else ()
        for pad, conv in couples or [(getattr(module, "pad", None), getattr(module, "conv", None))]:
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
