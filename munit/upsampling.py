"""Nearest-neighbour doubling and a 5x5 convolution, as one convolution of the small image.

Of the 25 pixels under the kernel at most 9 are different ones before the doubling, so the 5x5
convolution of the large image is four 3x3 convolutions of the small one, whose kernels are sums of
the 5x5 kernel's entries: one for each place of an output pixel within its 2x2 cell. That is
9 instead of 25 multiplications per output pixel, and a quarter of the memory for its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.cpu import winograd as minimal
from core.cpu.winograd_tiles import Mode
from core.nn.padding import reflection_pad, replication_pad


def doubled_conv5(
    x: Tensor, weight: Tensor, bias: Tensor, pad_mode: str, *, winograd: bool = False
) -> Tensor:
    """`conv2d(pad(interpolate(x, scale_factor=2), 2), weight, bias)` with 36 % of its arithmetic.

    Args:
        x: [N, C, H, W], H and W at least 2.
        weight: [O, C, 5, 5].
        bias: [O].
        pad_mode: `reflect`, `replicate` or `constant` (zeros), of the doubled image.
        winograd: of the four 3x3 convolutions, by `core.cpu.winograd`.

    Returns:
        [N, O, 2 * H, 2 * W].
    """
    cells = torch.stack([_folded(rows, 3) for rows in _folded(weight, 2)])
    # [2 rows, 2 columns, O, C, 3, 3] to the channel order of pixel_shuffle.
    kernels = cells.permute(2, 0, 1, 3, 4, 5).flatten(0, 2)
    biases = bias.repeat_interleave(4)
    compiling = torch.compiler.is_compiling()
    x, *edges = (x, *_edges(x, 2)) if compiling else _AndEdges.apply(x)
    # Two pixels of the doubled image are one of the small one, except where it is mirrored.
    if winograd:
        mode: Mode = "zeros" if pad_mode == "constant" else "replicate"
        y = minimal.conv2d(x, kernels, biases, padding=1, mode=mode)
    else:
        padded = F.pad(x, (1, 1, 1, 1)) if pad_mode == "constant" else replication_pad(x, 1)
        y = F.conv2d(padded, kernels, biases)
    y = F.pixel_shuffle(y, 2)
    if pad_mode == "reflect":
        top, bottom = _mirror_terms(edges[:2], weight, reflection_pad)
        sides = [edge.transpose(2, 3) for edge in edges[2:]]
        left, right = _mirror_terms(sides, weight.transpose(2, 3), replication_pad)
        terms = top, bottom, left.transpose(2, 3), right.transpose(2, 3)
        if not compiling:
            return _WithEdges.apply(y, *terms)
        for edge, term in zip(_edges(y, 1), terms, strict=True):
            edge.add_(term)
    return y


def _edges(y: Tensor, width: int) -> tuple[Tensor, ...]:
    """The outermost rows and columns: top, bottom, left, right."""
    return y[:, :, :width], y[:, :, -width:], y[..., :width], y[..., -width:]


class _AndEdges(torch.autograd.Function):
    """x and its outermost two rows and columns; autograd alone would go back over all of x each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        return x.view_as(x), *(edge.clone() for edge in _edges(x, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone()
        for edge, gradient in zip(_edges(whole, 2), gradients[1:], strict=True):
            edge.add_(gradient)
        return whole


class _WithEdges(torch.autograd.Function):
    """A term added to each edge of y, in place; autograd alone would go back over all of y each."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, *terms: Tensor) -> Tensor:
        for edge, term in zip(_edges(y, 1), terms, strict=True):
            edge.add_(term)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients[0], *_edges(gradients[0], 1)


def _folded(weight: Tensor, dim: int) -> Tensor:
    """[2, ...]: the five taps along `dim` added up to three, for even and for odd outputs."""
    a, b, c, d, e = weight.unbind(dim)
    even, odd = (a + b, c + d, e), (a, b + c, d + e)
    return torch.stack([torch.stack(even, dim), torch.stack(odd, dim)])


def _mirror_terms(
    edges: Sequence[Tensor], weight: Tensor, pad: Callable[..., Tensor]
) -> list[Tensor]:
    """What reflection padding of the rows gives beyond replication: two [N, O, 1, 2 * W].

    The first and the last output row see one pixel that differs, two rows outside of the doubled
    image: row 1 of the small image instead of row 0, and likewise at the bottom.

    Args:
        edges: the first and the last two rows, [N, C, 2, W] each.
        weight: [O, C, 5, 5].
        pad: of the columns; with reflection for one axis and replication for the other the corners
            are counted once.
    """
    top, bottom = edges
    steps = top[:, :, 1:] - top[:, :, :1], bottom[:, :, :1] - bottom[:, :, 1:]
    terms = []
    for step, row in zip(steps, (weight[:, :, :1], weight[:, :, -1:]), strict=True):
        doubled = F.interpolate(step, scale_factor=(1.0, 2.0))
        terms.append(F.conv2d(pad(doubled, 2, dims=(3,)), row))
    return terms
