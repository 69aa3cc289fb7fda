"""Convolutions rearranged for a CPU are the convolutions, in value and in every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.cpu.accelerate import accelerate
from core.cpu.convolutions import ConvFromFew, ConvToFew, ConvTransposeToFew, WideConv2d
from core.cpu.narrow import from_few, to_few, transposed_to_few
from core.nn.norms import InstanceNorm2d
from core.nn.padding import ReflectionPad2d
from tests.cpu.convolutions import any_size, random, same

__all__ = ["any_size"]  # a fixture


def _random(*shape: int) -> Tensor:
    return random(*shape).requires_grad_()


_SIZES = st.tuples(st.integers(8, 15), st.integers(8, 15))


@settings(max_examples=30, deadline=None)
@given(size=_SIZES, taps=st.integers(1, 8), padding=st.integers(0, 3))
def test_to_few_channels(size: tuple[int, int], taps: int, padding: int) -> None:
    x, weight, bias = _random(2, 5, *size), _random(3, 5, taps, taps), _random(3)
    theirs = F.conv2d(x, weight, bias, padding=padding)
    same(to_few(x, weight, bias, padding), theirs, x, weight, bias)


_STRIDES = st.integers(1, 3)


@settings(max_examples=40, deadline=None)
@given(size=_SIZES, taps=st.integers(1, 8), stride=_STRIDES, padding=st.integers(0, 3))
def test_transposed_to_few_channels(
    size: tuple[int, int], taps: int, stride: int, padding: int
) -> None:
    x, weight, bias = _random(2, 5, *size), _random(5, 3, taps, taps), _random(3)
    theirs = F.conv_transpose2d(x, weight, bias, stride, padding)
    ours = transposed_to_few(x, weight, bias, stride, padding)
    same(ours, theirs, x, weight, bias)


@settings(max_examples=40, deadline=None)
@given(size=_SIZES, taps=st.integers(1, 8), stride=_STRIDES, padding=st.integers(0, 3))
def test_from_few_channels(size: tuple[int, int], taps: int, stride: int, padding: int) -> None:
    x, weight, bias = _random(2, 3, *size), _random(5, 3, taps, taps), _random(5)
    theirs = F.conv2d(x, weight, bias, stride, padding)
    same(from_few(x, weight, bias, stride, padding), theirs, x, weight, bias)


@pytest.mark.parametrize("frozen", ["nothing", "x", "weight", "bias"])
@pytest.mark.parametrize(("taps", "stride"), [(3, 1), (4, 2), (3, 2)])
def test_gradients_of_gradients_from_few_channels(taps: int, stride: int, frozen: str) -> None:
    x, weight, bias = _random(1, 2, 6, 7), _random(3, 2, taps, taps), _random(3)
    tensors = {"x": x, "weight": weight, "bias": bias}
    if frozen in tensors:
        tensors[frozen].requires_grad_(False)

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return from_few(x, weight, bias, stride, 1)

    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


def test_images_go_by_cells() -> None:
    layers = nn.ModuleList(
        [
            nn.Conv2d(3, 16, 7),
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.Conv2d(16, 3, 7, padding=3),
            nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
        ]
    ).double()
    kept = nn.ModuleList(
        [
            nn.Conv2d(3, 16, 1),
            nn.Conv2d(3, 8, 4, stride=2),
            nn.Conv2d(16, 1, 4, stride=2),
            nn.Conv2d(8, 3, 7),
            nn.ConvTranspose2d(16, 3, 3, stride=2, output_padding=1),
            nn.ConvTranspose2d(16, 3, 1),
        ]
    )
    inputs = [_random(2, layer.in_channels, 12, 14) for layer in layers]
    before = [layer(x) for layer, x in zip(layers, inputs, strict=True)]
    kinds = [type(layer) for layer in kept]
    accelerate([layers, kept], winograd=True, keep_memory=False)
    assert [type(layer) for layer in kept] == kinds
    expected = [ConvFromFew, ConvFromFew, ConvToFew, ConvTransposeToFew]
    assert [type(layer) for layer in layers] == expected
    for layer, x, y in zip(layers, inputs, before, strict=True):
        same(layer(x), y, x, *layer.parameters())
        with torch.autocast("cpu", torch.bfloat16):
            assert layer.float()(x.float()).dtype == torch.bfloat16


@pytest.mark.parametrize("fixed", [False, True])
def test_only_ordinary_convolutions_are_replaced(fixed: bool) -> None:
    replaced = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 4, padding=1)
    )
    kept = nn.Sequential(
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, (3, 5)),
        nn.ConvTranspose2d(8, 8, 3),
    )
    layers = nn.Sequential(replaced, kept).double().requires_grad_(not fixed)
    x = _random(1, 3, 29, 31)
    before, names = layers(x), list(layers.state_dict())
    accelerate([layers], winograd=True, keep_memory=False)
    assert all(type(layer) is WideConv2d for layer in replaced)
    assert all(layer.kept.fixed == fixed for layer in replaced)
    assert not any(isinstance(layer, WideConv2d) for layer in kept)
    assert list(layers.state_dict()) == names
    torch.testing.assert_close(layers(x), before)


class _Block(nn.Module):
    """Pads and convolves by attributes, as MUNIT's blocks do."""

    def __init__(self, pixels: int, kernel: int) -> None:
        super().__init__()
        self.pad, self.conv = ReflectionPad2d(pixels), nn.Conv2d(8, 8, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pad(x))


@pytest.mark.parametrize("fixed", [False, True])
def test_convolutions_pad_themselves(fixed: bool) -> None:
    with_own = nn.Sequential(ReflectionPad2d(1), nn.Conv2d(8, 8, 3), nn.ReLU(), _Block(1, 3))
    without = nn.Sequential(
        *(ReflectionPad2d(1), nn.ReLU(), nn.Conv2d(8, 8, 3)),
        *(ReflectionPad2d(2), nn.Conv2d(8, 8, 3)),
        *(ReflectionPad2d(1), nn.Conv2d(8, 8, 3, padding=1)),
        *(ReflectionPad2d(1), nn.Conv2d(8, 8, 4)),
        *(ReflectionPad2d(1), nn.Conv2d(8, 8, 3, stride=2), _Block(3, 7)),
    )
    layers = nn.Sequential(with_own, without).double().requires_grad_(not fixed)
    x = _random(2, 8, 15, 17).requires_grad_()
    before = layers(x)
    (expected,) = torch.autograd.grad(before.square().sum(), x)
    accelerate([layers], winograd=True, keep_memory=False)
    modes = [m.pads for m in layers.modules() if isinstance(m, WideConv2d)]
    assert modes == ["reflect"] * 2 + ["zeros"] * (len(modes) - 2)
    after = layers(x)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(torch.autograd.grad(after.square().sum(), x)[0], expected)


def test_a_compiled_network_is_the_same() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        *(nn.Conv2d(8, 8, 3, stride=2), InstanceNorm2d(8), nn.ReLU()),
        *(ReflectionPad2d(1), nn.Conv2d(8, 8, 3), InstanceNorm2d(8)),
    ).double()
    x = _random(1, 8, 15, 17)
    before = layers(x)
    expected = torch.autograd.grad(before.sin().sum(), (x, *layers.parameters()))
    accelerate([layers], winograd=True, keep_memory=False)
    for compiled in (False, True):
        if compiled:
            layers.compile(backend="aot_eager")  # generating C++ would only take time
        after = layers(x)
        torch.testing.assert_close(after, before)
        found = torch.autograd.grad(after.sin().sum(), (x, *layers.parameters()))
        torch.testing.assert_close(found, expected)
