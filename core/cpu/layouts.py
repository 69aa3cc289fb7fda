"""Direct convolutions, each part of which runs in the layout that it is fast in.

Without AVX-512, weight gradients of strided and transposed convolutions take three to six times as
long in channels_last as in contiguous layout, and input gradients the reverse. A copy into the
other layout costs less than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from core.cpu import choices

Part = Literal["forward", "input", "weight"]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Form(NamedTuple):
    """What a convolution has besides its tensors; no dilation, one group.

    Attributes:
        stride: on both axes.
        padding: on every side.
        output_padding: of a transposed one.
        transposed: `F.conv_transpose2d` instead of `F.conv2d`.
    """

    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    transposed: bool = False

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As the operators of torch take them, from `stride` to `groups`."""
        return (
            *([self.stride] * 2, [self.padding] * 2, [1, 1]),
            *(self.transposed, [self.output_padding] * 2, 1),
        )


def layout_of(*tensors: Tensor) -> str:
    """Return "channels_last" if one of them is, as torch's convolutions do, or "contiguous"."""
    return "contiguous" if all(t.is_contiguous() for t in tensors) else "channels_last"


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    """Convolve x [N, I, H, W] directly, every part in its layout; the result has torch's."""
    y: Tensor = _Convolved.apply(x, weight, bias, form)
    return y


def _fastest(
    part: Part, form: Form, tensors: tuple[Tensor, ...], work: Callable[..., Tensor], result: str
) -> Any:
    """Do `work` on tensors in the layout in which it is fast; images come out in that of `result`.

    The first two of `tensors` are the input and the weight of the convolution.
    """
    own = layout_of(*tensors[:2])

    def run(layout: str) -> Tensor:
        laid = (t.contiguous(memory_format=FORMATS[layout]) for t in tensors)
        return work(*laid).contiguous(memory_format=FORMATS[result])

    key = part, form, own, result, tensors[0].dtype, *(tuple(t.shape) for t in tensors)
    chosen = choices.current()
    way = chosen.known(key)
    if way is None:
        order = sorted(FORMATS, key=lambda layout: layout != own)
        way = chosen.fastest(key, {layout: partial(run, layout) for layout in order})
    return run(way)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.form = form

        def work(x: Tensor, weight: Tensor) -> Tensor:
            return torch.convolution(x, weight, bias, *form.arguments)

        y: Tensor = _fastest("forward", form, (x, weight), work, layout_of(x, weight))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        form, wanted = ctx.form, list(ctx.needs_input_grad[:3])
        channels = weight.shape[1 if form.transposed else 0]

        def gradients_of(gradient: Tensor, x: Tensor, weight: Tensor, mask: list[bool]) -> Any:
            return torch.ops.aten.convolution_backward(
                gradient, x, weight, [channels], *form.arguments, mask
            )

        if torch.is_grad_enabled():  # derivatives of the gradient
            return *gradients_of(gradient, x, weight, wanted), None

        def to_input(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
            found: Tensor = gradients_of(gradient, x, weight, [True, False, False])[0]
            return found

        def to_weight(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
            found: Tensor = gradients_of(gradient, x, weight, [False, True, False])[1]
            return found

        tensors = x, weight, gradient
        return (
            _fastest("input", form, tensors, to_input, layout_of(x, weight)) if wanted[0] else None,
            _fastest("weight", form, tensors, to_weight, layout_of(weight)) if wanted[1] else None,
            gradient.sum((0, 2, 3)) if wanted[2] else None,
            None,
        )
