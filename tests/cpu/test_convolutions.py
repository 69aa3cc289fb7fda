"""Convolutions rearranged for a CPU are the convolutions, in value and in every gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.cpu import choices
from core.cpu.accelerate import accelerate
from core.cpu.choices import Choices, Key, Ways
from core.cpu.convolutions import Conv2d, ConvTranspose2d
from core.cpu.layouts import Form, convolve, layout_of
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


FORMS = {
    "strided": (nn.Conv2d(3, 4, 4, stride=2, padding=1), ["torch", "parts"]),
    "wide": (nn.Conv2d(3, 4, 3, padding=1), ["torch", "parts", "minimal"]),
    "of a point": (nn.Conv2d(3, 4, 1, bias=False), ["torch", "parts"]),
    "from an image": (nn.Conv2d(3, 16, 7), ["torch", "parts", "cells"]),
    "to an image": (nn.Conv2d(16, 3, 7, padding=3), ["torch", "parts", "cells"]),
    "transposed": (
        nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
        ["torch", "parts"],
    ),
    "transposed to an image": (
        nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
        ["torch", "parts", "cells"],
    ),
}


class _Takes(Choices):
    """Takes a way by name, where there is one of that name, and notes all that there are."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.seen: list[list[str]] = []

    def fastest(self, key: Key, ways: Ways) -> str:
        self.seen.append(list(ways))
        return self.way if self.way in ways else list(ways)[-1]


@pytest.fixture
def take() -> Iterator[Callable[[str], _Takes]]:
    before = choices.current()

    def use(way: str) -> _Takes:
        taken = _Takes(way)
        choices.use(taken)
        return taken

    yield use
    choices.use(before)


@pytest.mark.parametrize("form", FORMS)
def test_every_way_is_the_same(form: str, take: Callable[[str], _Takes]) -> None:
    layer, ways = FORMS[form]
    layer = copy.deepcopy(layer).double()
    x = random(2, layer.in_channels, 12, 14).requires_grad_()
    accelerated = copy.deepcopy(layer)
    accelerate([accelerated], winograd=True, keep_memory=False)
    for way in ways:
        taken = take(way)
        for layout in (torch.contiguous_format, torch.channels_last):
            laid = x.contiguous(memory_format=layout)
            accelerated.to(memory_format=layout)
            ours = accelerated(laid)
            assert layout_of(ours) == layout_of(laid)
            parameters = *layer.parameters(), *accelerated.parameters()
            with torch.no_grad():
                torch.testing.assert_close(ours, layer(x))
            half = len(parameters) // 2
            theirs = torch.autograd.grad(layer(x).sin().sum(), (x, *parameters[:half]))
            found = torch.autograd.grad(ours.sin().sum(), (x, *parameters[half:]))
            torch.testing.assert_close(found, theirs)
        assert taken.seen[0] == ways
    with torch.autocast("cpu", torch.bfloat16):
        assert accelerated.float()(x.float()).dtype == torch.bfloat16


@pytest.mark.parametrize("frozen", ["nothing", "x", "weight", "bias"])
@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_of_gradients_by_parts(transposed: bool, frozen: str) -> None:
    tensors = {"x": random(1, 2, 6, 7), "weight": random(2, 2, 4, 4), "bias": random(2)}
    leaves = [tensor.requires_grad_(name != frozen) for name, tensor in tensors.items()]
    form = Form(2, 1, transposed=transposed)
    assert torch.autograd.gradgradcheck(lambda *given: convolve(*given, form), leaves)


@pytest.mark.parametrize("fixed", [False, True])
def test_only_ordinary_convolutions_are_replaced(fixed: bool) -> None:
    replaced = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2), nn.ConvTranspose2d(8, 8, 4)
    )
    kept = nn.Sequential(
        nn.Conv2d(8, 8, 3, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, (3, 5)),
    )
    layers = nn.Sequential(replaced, kept).double().requires_grad_(not fixed)
    x = _random(1, 3, 29, 31)
    before, names = layers(x), list(layers.state_dict())
    accelerate([layers], winograd=True, keep_memory=False)
    assert [type(layer) for layer in replaced] == [Conv2d, Conv2d, ConvTranspose2d]
    assert all(layer.kept.fixed == fixed for layer in replaced if isinstance(layer, Conv2d))
    assert not any(isinstance(layer, Conv2d) for layer in kept)
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
    modes = [m.pads for m in layers.modules() if isinstance(m, Conv2d)]
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
