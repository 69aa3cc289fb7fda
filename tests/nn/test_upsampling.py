"""Doubling and a 5x5 convolution in one are the two, in value and in every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.cpu.accelerate import accelerate
from core.nn.upsampling import DoubledConv2d
from tests.cpu.convolutions import any_size, random, same

__all__ = ["any_size"]  # a fixture


@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (2, 5), (7, 4)])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "zeros"])
def test_doubling_and_convolution_in_one(mode: Any, size: tuple[int, int], winograd: bool) -> None:
    torch.manual_seed(0)
    conv = DoubledConv2d(3, 4, mode).double()
    accelerate([conv], winograd=winograd, keep_memory=False)
    x = random(2, 3, *size).requires_grad_()
    pad_mode = "constant" if mode == "zeros" else mode
    doubled = F.pad(F.interpolate(x, scale_factor=2.0), (2, 2, 2, 2), mode=pad_mode)
    published = F.conv2d(doubled, conv.weight, conv.bias)
    same(conv(x), published, x, *conv.parameters())
    torch.testing.assert_close(conv.eval()(x), F.conv2d(doubled, conv.weight, conv.bias))
