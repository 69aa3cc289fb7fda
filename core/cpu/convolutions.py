"""Convolutions as layers, each done the way that is fastest for its shape on this processor.

A layer of `torch.nn` or `core.nn` becomes one of these (`core.cpu.accelerate`). It falls back on
what it was on other devices and under autocast, which have convolutions of their own that are
faster still, and for tiled images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.cpu import choices, winograd
from core.cpu.filters import KeptFilters
from core.cpu.layouts import FORMATS, Form, convolve, layout_of
from core.cpu.narrow import from_few, to_few, transposed_to_few
from core.cpu.tiles import Mode
from core.cpu.winograd import conv2d, suits
from core.nn import upsampling
from core.nn.padding import ReflectionPad2d

FEW = 4
"""Channels of an image, at most."""
MANY = 16
"""Channels that make cells of pixels worth it: lanes of a vector."""
Way = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A convolution of an image by a weight and a bias."""
_mirrored = ReflectionPad2d(1)


def in_full_on_cpu(x: Tensor) -> bool:
    """Tell plain tensors on a CPU, in full precision: not tiles, nor tensors without memory."""
    if type(x) not in (Tensor, nn.Parameter):
        return False
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def fastest(
    kind: str,
    ways: dict[str, Way],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    fixed: bool,
) -> Tensor:
    """Convolve x in the fastest of several ways, measured there and back for what is trained.

    Weights that are not trained go the way that is fast on most processors, so that the result of
    an image is the same in any batch and at any time.

    Args:
        kind: what the ways do, with all that shapes do not tell.
        ways: by name, torch's own first.
        x: [N, I, H, W].
        weight: of the convolution.
        bias: likewise.
        fixed: whether the weight is not trained.
    """
    if fixed or torch.compiler.is_compiling():  # which can neither measure nor look at layouts
        sure = "minimal" in ways and min(weight.shape[:2]) >= winograd.SURE_CHANNELS
        return ways["minimal" if sure else "cells" if "cells" in ways else "torch"](x, weight, bias)
    graded = torch.is_grad_enabled()
    wanted = graded and x.requires_grad, graded and weight.requires_grad
    shapes = tuple(x.shape), tuple(weight.shape)
    key = kind, *shapes, bias is not None, layout_of(x, weight), x.dtype, *wanted
    chosen = choices.current()
    way = chosen.known(key)
    if way is None:
        trials = {
            name: partial(_there_and_back, way, x, weight, bias) for name, way in ways.items()
        }
        way = chosen.fastest(key, trials)
    return _done(ways[way], x, weight, bias)


def _done(way: Way, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve in one way; the result has the layout that torch would give it."""
    return way(x, weight, bias).contiguous(memory_format=FORMATS[layout_of(x, weight)])


def _there_and_back(way: Way, *tensors: Tensor | None) -> None:
    graded = torch.is_grad_enabled()
    leaves = [
        t if t is None else t.detach().requires_grad_(graded and t.requires_grad) for t in tensors
    ]
    y = _done(way, *leaves)  # type: ignore[arg-type]
    wanted = [t for t in leaves if t is not None and t.requires_grad]
    if wanted:
        torch.autograd.grad(y, wanted, y.detach())


class Conv2d(nn.Conv2d):
    """A convolution with equal sides and without dilation or groups."""

    fixed: bool
    """Whether its weight is not trained."""
    kept: KeptFilters
    """Its transformed filters."""
    pads: Mode = "zeros"
    """Unless zeros, it mirrors by 1 itself."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        if not in_full_on_cpu(input):
            return super().forward(input if self.pads == "zeros" else _mirrored(input))
        ways = self._ways(input)
        kind = f"conv2d {self.stride[0]} {self.padding[0]} {self.pads}"
        return fastest(kind, ways, input, self.weight, self.bias, fixed=self.fixed)

    def _ways(self, x: Tensor) -> dict[str, Way]:
        stride, padding = int(self.stride[0]), int(self.padding[0])
        taps, mode = self.kernel_size[0], self.pads
        mirrors = mode != "zeros"

        def padded(x: Tensor) -> Tensor:
            return _mirrored(x) if mirrors else x

        def plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv2d(padded(x), weight, bias, stride, padding)

        def by_parts(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return convolve(padded(x), weight, bias, Form(stride, padding))

        ways: dict[str, Way] = {"torch": plain, "parts": by_parts}
        if stride == 1 and suits(x, self.weight, 1 if mirrors else padding, mode, one=self.fixed):
            ways["minimal"] = lambda x, w, b: conv2d(
                x, w, b, 1 if mirrors else padding, mode, self.kept
            )
        few_in, few_out = self.in_channels <= FEW, self.out_channels <= FEW
        if few_in and self.out_channels >= MANY and taps > 1:
            ways["cells"] = lambda x, w, b: from_few(padded(x), w, b, stride, padding)
        if few_out and self.in_channels >= MANY and taps >= 5 and stride == 1:
            # Cells widen smaller kernels too much.
            ways["cells"] = lambda x, w, b: to_few(padded(x), w, b, padding)
        return ways


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution with equal sides and without dilation or groups."""

    fixed: bool
    """As in `Conv2d`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        if output_size is not None or not in_full_on_cpu(input):
            return super().forward(input, output_size)
        kind = f"conv_transpose2d {self.stride[0]} {self.padding[0]} {self.output_padding[0]}"
        return fastest(kind, self._ways(), input, self.weight, self.bias, fixed=self.fixed)

    def _ways(self) -> dict[str, Way]:
        stride, padding, more = (
            int(pair[0]) for pair in (self.stride, self.padding, self.output_padding)
        )
        form = Form(stride, padding, more, transposed=True)

        def plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv_transpose2d(x, weight, bias, stride, padding, more)

        ways: dict[str, Way] = {"torch": plain, "parts": lambda x, w, b: convolve(x, w, b, form)}
        few = self.out_channels <= FEW and self.in_channels >= MANY
        if few and self.kernel_size[0] >= stride > 1 and not more:
            ways["cells"] = lambda x, w, b: transposed_to_few(x, w, b, stride, padding)
        return ways


class DoubledConv2d(upsampling.DoubledConv2d):
    """`core.nn.upsampling.DoubledConv2d` done the fastest way, in eval mode at once too."""

    kept: KeptFilters | None = None
    """The transformed filters of its kernels, where its weight is not trained."""
    _cells: tuple[int, int, tuple[Tensor, Tensor]] | None = None
    """Its kernels and biases, with the versions of weight and bias that they are of."""

    def forward(self, input: Tensor) -> Tensor:
        """As of the base class."""
        if not in_full_on_cpu(input):
            return super().forward(input)
        return self.at_once(input)

    def of_cells(self) -> tuple[Tensor, Tensor]:
        """As of the base class; kept where they are not trained."""
        if self.kept is None or torch.compiler.is_compiling():
            return super().of_cells()
        assert self.bias is not None
        versions = self.weight._version, self.bias._version
        if self._cells is None or self._cells[:2] != versions:
            with torch.inference_mode(False), torch.no_grad():
                self._cells = *versions, super().of_cells()
        return self._cells[2]

    def of_small(self, x: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
        """As of the base class."""
        if not in_full_on_cpu(x):
            return super().of_small(x, kernels, biases)
        mode: Mode = "zeros" if self.padding_mode == "zeros" else "replicate"
        ways: dict[str, Way] = {"torch": super().of_small}  # type: ignore[dict-item]
        if suits(x, kernels, 1, mode, one=self.kept is not None):
            ways["minimal"] = lambda x, w, b: conv2d(x, w, b, 1, mode, self.kept)
        fixed = self.kept is not None
        return fastest(f"doubled {mode}", ways, x, kernels, biases, fixed=fixed)


def can_do(layer: Any) -> bool:
    """Tell whether an `nn.Conv2d` or `nn.ConvTranspose2d` is one that these layers can do."""
    pairs = layer.kernel_size, layer.stride, layer.padding, layer.output_padding
    return (
        all(not isinstance(pair, str) and pair[0] == pair[1] for pair in pairs)
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and layer.groups == 1
    )
