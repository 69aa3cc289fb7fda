"""Doubling and a convolution in one are the two, in value and in every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.cpu.accelerate import accelerate
from core.nn.resnet import ResnetGenerator
from core.nn.unet import UnetGenerator
from core.nn.upsampling import DoubledConv2d, ResizeConv2d
from core.tiling.run import run_tiled
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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 4)])
@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_resizing_and_a_3x3_convolution(mode: Any, size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    conv = ResizeConv2d(3, 4, mode, bias=bias).double()
    accelerate([conv], winograd=True, keep_memory=False)
    x = random(2, 3, *size).requires_grad_()
    pad_mode = "constant" if mode == "zeros" else mode
    doubled = F.pad(F.interpolate(x, scale_factor=2.0), (1, 1, 1, 1), mode=pad_mode)
    published = F.conv2d(doubled, conv.weight, conv.bias)
    same(conv(x), published, x, *conv.parameters())
    torch.testing.assert_close(conv.eval()(x), published)


@pytest.mark.parametrize("kind", ["resnet", "unet"])
def test_generators_that_resize(kind: str) -> None:
    """They train and test alike, in tiles too, and their weights belong to no published network."""
    torch.manual_seed(0)
    resnet, unet = (3, 3, 4, 1, "instance"), (3, 3, 4, 5, "none", False)
    make: Any = {
        "resnet": lambda **how: ResnetGenerator(*resnet, **how),
        "unet": lambda **how: UnetGenerator(*unet, **how),
    }[kind]
    network = make(upsample="resize").double()
    x = random(1, 3, 64, 96)
    whole = network.eval()(x).detach()
    torch.testing.assert_close(network.train()(x), whole)
    tiled = run_tiled(network.eval(), x, tile=32, device=torch.device("cpu"), dtype=torch.float64)
    torch.testing.assert_close(tiled, whole)
    with pytest.raises(RuntimeError, match="size mismatch"):
        make().load_state_dict(network.state_dict())
