"""Pad, resize, join, convolve and pool tiled images.

Importing this module fills the table of `core.tiling.tensor`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.tiling.sources import Source, Span, Stored, Window, blended, gathered, mapped, sweep
from core.tiling.tensor import Pair, TiledTensor, handles, pair, refusal, result_shape

# ---------------------------------------------------------------- geometry


def _ramp(size: int) -> Tensor:
    """Return coordinates [1, 1, size]: what torch makes of them tells what it reads."""
    return torch.arange(size, dtype=torch.float64, device="cpu")[None, None]


def _padded(
    source: Source, pads: Sequence[int], mode: str = "constant", fill: float = 0.0
) -> Source:
    """Pad by (left, right, top, bottom), or crop by negative numbers."""
    if not any(pads):
        return source
    value = -1.0 if mode == "constant" else None
    rows, cols = (
        F.pad(_ramp(size), tuple(both), mode=mode, value=value)[0, 0].long()
        for size, both in ((source.shape[2], pads[2:]), (source.shape[3], pads[:2]))
    )
    return gathered(source, rows, cols, fill)


@handles(F.pad)
def _pad(
    input: TiledTensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Source:
    if mode not in ("constant", "reflect", "replicate") or len(pad) not in (2, 4):
        raise refusal(f"pad({tuple(pad)}, {mode})")
    return _padded(input.source, (*pad, 0, 0)[:4], mode, value or 0.0)


@handles(F.interpolate)
def _interpolate(
    input: TiledTensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Source:
    line_modes = {"nearest": "nearest", "nearest-exact": "nearest-exact", "bilinear": "linear"}
    if mode not in line_modes or antialias:
        raise refusal(f"interpolate({mode}{', antialias' if antialias else ''})")

    def resized(axis: int) -> Tensor:
        return F.interpolate(
            _ramp(input.shape[2 + axis]),
            size=pair(size)[axis],
            scale_factor=pair(scale_factor)[axis],
            mode=line_modes[mode],
            align_corners=align_corners,
            recompute_scale_factor=recompute_scale_factor,
        )[0, 0]

    rows, cols = resized(0), resized(1)
    if mode == "bilinear":
        return blended(input.source, rows, cols)
    return gathered(input.source, rows.long(), cols.long())


@handles(Tensor.__getitem__)
def _getitem(input: TiledTensor, key: Any) -> TiledTensor:
    """Crop, or take a run of channels."""
    slices = key if isinstance(key, tuple) else (key,)
    if Ellipsis in slices:
        at = slices.index(Ellipsis)
        slices = (*slices[:at], *[slice(None)] * (5 - len(slices)), *slices[at + 1 :])
    slices = (*slices, *[slice(None)] * (4 - len(slices)))
    if not all(isinstance(each, slice) for each in slices):
        raise refusal(f"indexing with {key}")
    source, (table, rows, cols) = input.source, (slices[:2], slices[2], slices[3])
    if rows != slice(None) or cols != slice(None):
        _, _, height, width = source.shape
        every = torch.arange(max(height, width), device="cpu")
        source = gathered(source, every[:height][rows], every[:width][cols])
    shape = result_shape(lambda ghost: ghost[slices], input)
    return TiledTensor(mapped(lambda tile: tile[table], [source], shape), is_crop=True)


@handles(torch.cat, torch.concat, torch.concatenate)
def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Source:
    shape = torch.cat([torch.empty(each.shape, device="meta") for each in tensors], dim).shape
    if dim % 4 != 1:
        raise refusal(f"cat(dim={dim})")
    plan = next(each.source.plan for each in tensors if isinstance(each, TiledTensor))
    inputs = [
        each.source if isinstance(each, TiledTensor) else Stored(plan, each) for each in tensors
    ]
    return mapped(lambda *tiles: torch.cat(tiles, 1), inputs, shape)


# ---------------------------------------------------------------- neighbourhoods


def _slide(
    source: Source,
    shape: Sequence[int],
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    function: Callable[[Tensor], Tensor],
    *,
    measure: bool = False,
) -> Source:
    """Slide a kernel without padding: each output tile comes of its input with the halo."""

    def halo(span: Span, axis: int) -> Span:
        reach = dilation[axis] * (kernel[axis] - 1)
        return span[0] * stride[axis], (span[1] - 1) * stride[axis] + reach + 1

    def compute(window: Window) -> Tensor:
        return function(source.read(Window(halo(window.rows, 0), halo(window.cols, 1))))

    return sweep(source.plan, shape, compute, measure=measure)


@handles(torch.conv2d, F.conv2d)
def _conv2d(
    input: TiledTensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Source:
    shape = result_shape(torch.conv2d, input, weight, bias, stride, padding, dilation, groups)
    steps, gaps = pair(stride), pair(dilation)
    kernel = (weight.shape[2], weight.shape[3])
    if padding == "same":
        reach = [gap * (side - 1) for gap, side in zip(gaps, kernel, strict=True)]
        pads = (reach[1] // 2, -(-reach[1] // 2), reach[0] // 2, -(-reach[0] // 2))
    else:
        tall, wide = (0, 0) if isinstance(padding, str) else pair(padding)
        pads = (wide, wide, tall, tall)

    def function(tile: Tensor) -> Tensor:
        return torch.conv2d(tile.to(weight.dtype), weight, bias, steps, 0, gaps, groups)

    padded = _padded(input.source, pads)
    return _slide(padded, shape, kernel, steps, gaps, function, measure=True)


@handles(torch.conv_transpose2d, F.conv_transpose2d)
def _conv_transpose2d(
    input: TiledTensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Source:
    options = (stride, padding, output_padding, groups, dilation)
    shape = result_shape(torch.conv_transpose2d, input, weight, bias, *options)
    source, steps, pads, gaps = input.source, pair(stride), pair(padding), pair(dilation)

    def contributors(span: Span, axis: int) -> Span:
        """Return inputs; one at least starts at or before the span, and one ends at or after it."""
        step, pad, last = steps[axis], pads[axis], source.shape[2 + axis] - 1
        reach = gaps[axis] * (weight.shape[2 + axis] - 1)
        first = (span[0] + pad - reach) // step
        final = -(-(span[1] - 1 + pad) // step)
        return min(max(first, 0), last), min(final, last) + 1

    def compute(window: Window) -> Tensor:
        reads = Window(contributors(window.rows, 0), contributors(window.cols, 1))
        tile = source.read(reads).to(weight.dtype)
        full = torch.conv_transpose2d(tile, weight, bias, steps, 0, output_padding, groups, gaps)
        top = window.rows[0] + pads[0] - reads.rows[0] * steps[0]
        left = window.cols[0] + pads[1] - reads.cols[0] * steps[1]
        height, width = window.size
        # A copy, because the moments are measured in place and a view would keep all of `full`.
        return full[..., top : top + height, left : left + width].contiguous()

    return sweep(source.plan, shape, compute, measure=True)


@handles(F.max_pool2d, torch.max_pool2d)
def _max_pool2d(
    input: TiledTensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Source:
    if return_indices:
        raise refusal("max_pool2d(return_indices=True)")
    shape = result_shape(
        torch.max_pool2d, input, kernel_size, stride or kernel_size, padding, dilation, ceil_mode
    )
    kernel, steps, gaps = pair(kernel_size), pair(stride or kernel_size), pair(dilation)
    top, left = pair(padding)
    # With ceil_mode the last windows hang over; without it the last rows may go unread.
    height, width = (
        (shape[2 + axis] - 1) * steps[axis] + gaps[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)
    )
    pads = (left, width - input.shape[3] - left, top, height - input.shape[2] - top)
    padded = _padded(input.source, pads, fill=float("-inf"))

    def function(tile: Tensor) -> Tensor:
        return torch.max_pool2d(tile, kernel, steps, 0, gaps)

    return _slide(padded, shape, kernel, steps, gaps, function)


@handles(F.avg_pool2d)
def _avg_pool2d(
    input: TiledTensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Source:
    if ceil_mode or divisor_override is not None:
        raise refusal("avg_pool2d(ceil_mode, divisor_override)")
    shape = result_shape(F.avg_pool2d, input, kernel_size, stride, padding)
    kernel, steps, (tall, wide) = pair(kernel_size), pair(stride or kernel_size), pair(padding)

    def function(tile: Tensor) -> Tensor:
        return F.avg_pool2d(tile, kernel, steps)

    padded = _padded(input.source, (wide, wide, tall, tall))
    pooled = _slide(padded, shape, kernel, steps, (1, 1), function)
    if count_include_pad:
        return pooled
    # What of each window is picture: [1, H', W'].
    ones = torch.ones(1, *input.shape[2:], dtype=torch.float64, device="cpu")
    inside = F.pad(ones, (wide, wide, tall, tall))
    share = Stored(input.source.plan, F.avg_pool2d(inside, kernel, steps).expand(shape))
    return mapped(torch.div, [pooled, share], shape)
