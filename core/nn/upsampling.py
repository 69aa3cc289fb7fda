"""Nearest-neighbour doubling and a convolution, in one pass over the small image.

Of the 25 pixels under the kernel at most 9 are different ones before the doubling, so the 5x5
convolution of the large image is four 3x3 convolutions of the small one, whose kernels are sums of
the 5x5 kernel's entries: one for each place of an output pixel within its 2x2 cell. That is
9 instead of 25 multiplications per output pixel, and a quarter of the memory for its input.

With a 3x3 kernel there are at most 4 of 9. That is a transposed convolution, whose 4x4 kernel is
the sum of the 3x3 kernel at four places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.padding import reflection_pad, replication_pad

Upsample = Literal["transposed", "resize"]
"""How a generator doubles sizes: as published, or by `ResizeConv2d`."""


class DoubledConv2d(nn.Conv2d):
    """A 5x5 convolution, padded by 2, of the image doubled by nearest neighbours.

    In training it has 36 % of the arithmetic; otherwise it goes step by step, which exporters and
    tiles (`core.tiling`) understand.

    `padding_mode` is that of the doubled image.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        padding_mode: Literal["reflect", "replicate", "zeros"],
    ) -> None:
        super().__init__(in_channels, out_channels, 5, padding=2, padding_mode=padding_mode)

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W], H and W at least 2, to [N, O, 2 * H, 2 * W]."""
        if not self.training:
            return super().forward(F.interpolate(input, scale_factor=2.0))
        return self.at_once(input)

    def at_once(self, input: Tensor) -> Tensor:
        """Convolve the small image instead of the doubled one."""
        kernels, biases = self.of_cells()
        compiling = torch.compiler.is_compiling()
        x, *edges = (input, *_edges(input, 2)) if compiling else _AndEdges.apply(input)
        y = F.pixel_shuffle(self.of_small(x, kernels, biases), 2)
        if self.padding_mode == "reflect":
            top, bottom = _mirror_terms(edges[:2], self.weight, reflection_pad)
            sides = [edge.transpose(2, 3) for edge in edges[2:]]
            left, right = _mirror_terms(sides, self.weight.transpose(2, 3), replication_pad)
            terms = top, bottom, left.transpose(2, 3), right.transpose(2, 3)
            if not compiling:
                return _WithEdges.apply(y, *terms)
            for edge, term in zip(_edges(y, 1), terms, strict=True):
                edge.add_(term)
        return y

    def of_cells(self) -> tuple[Tensor, Tensor]:
        """Return kernels [4 * O, C, 3, 3] and biases [4 * O], in the order of `pixel_shuffle`."""
        cells = torch.stack([_folded(rows, 3) for rows in _folded(self.weight, 2)])
        assert self.bias is not None
        # From [2 rows, 2 columns, O, C, 3, 3].
        return cells.permute(2, 0, 1, 3, 4, 5).flatten(0, 2), self.bias.repeat_interleave(4)

    def of_small(self, x: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
        """Convolve the small image, padded by 1.

        Two pixels of the doubled image are one of the small one, except where it is mirrored: what
        mirroring gives beyond replication is added later.
        """
        if self.padding_mode == "zeros":
            return F.conv2d(x, kernels, biases, padding=1)
        return F.conv2d(replication_pad(x, 1), kernels, biases)


def _edges(y: Tensor, width: int) -> tuple[Tensor, ...]:
    """Return the outermost rows and columns: top, bottom, left, right."""
    return y[:, :, :width], y[:, :, -width:], y[..., :width], y[..., -width:]


class ResizeConv2d(nn.Conv2d):
    """A 3x3 convolution, padded by 1, of the image doubled by nearest neighbours.

    Odena, Dumoulin, Olah: *Deconvolution and Checkerboard Artifacts* (Distill 2016): each output
    pixel is the sum of as many products as its neighbours, which is not so in a transposed
    convolution whose kernel is no multiple of its stride.

    `padding_mode` is that of the doubled image. In training it is a transposed convolution of the
    small image; otherwise it goes step by step, which exporters and tiles (`core.tiling`) read.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        padding_mode: Literal["reflect", "zeros"],
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, 3, padding=1, bias=bias, padding_mode=padding_mode
        )

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, O, 2 * H, 2 * W]."""
        if not self.training:
            return super().forward(F.interpolate(input, scale_factor=2.0))
        turned = F.pad(self.weight.flip(2, 3), (1, 1, 1, 1))
        kernel = F.avg_pool2d(turned, 2, stride=1, divisor_override=1).transpose(0, 1)
        if self.padding_mode == "zeros":
            return F.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)
        # To mirror the doubled image by one pixel is to repeat the small one's edge.
        padded = replication_pad(input, 1)
        return F.conv_transpose2d(padded, kernel, self.bias, stride=2, padding=3)


class _AndEdges(torch.autograd.Function):
    """x and its two outermost rows and columns; autograd would go over all of x for each edge."""

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
    """y with a term added to each edge, in place; autograd would go over all of y for each edge."""

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
    """Add up the five taps along `dim` to three, for even and for odd outputs: [2, ...]."""
    a, b, c, d, e = weight.unbind(dim)
    even, odd = (a + b, c + d, e), (a, b + c, d + e)
    return torch.stack([torch.stack(even, dim), torch.stack(odd, dim)])


def _mirror_terms(
    edges: Sequence[Tensor], weight: Tensor, pad: Callable[..., Tensor]
) -> list[Tensor]:
    """Return what reflection padding of the rows gives beyond replication: two [N, O, 1, 2 * W].

    The first and the last output row see one pixel that differs, two rows outside of the doubled
    image: row 1 of the small image instead of row 0, and likewise at the bottom.

    `edges` are the first and the last two rows, [N, C, 2, W] each, `weight` is [O, C, 5, 5], and
    `pad` pads the columns: with reflection for one axis and replication for the other the corners
    are counted once.
    """
    top, bottom = edges
    steps = top[:, :, 1:] - top[:, :, :1], bottom[:, :, :1] - bottom[:, :, 1:]
    terms = []
    for step, row in zip(steps, (weight[:, :, :1], weight[:, :, -1:]), strict=True):
        doubled = F.interpolate(step, scale_factor=(1.0, 2.0))
        terms.append(F.conv2d(pad(doubled, 2, dims=(3,)), row))
    return terms
