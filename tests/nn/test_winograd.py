"""Winograd's 3x3 convolution is the convolution, in value and in every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.nn import winograd
from core.nn.winograd import WinogradConv2d, conv3x3, use_winograd


@pytest.fixture(autouse=True)
def _for_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    monkeypatch.setattr(winograd, "MIN_TILES", 1)


def _operands(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    n, channels_in, channels_out, height, width = shape
    torch.manual_seed(0)
    x = torch.randn(n, channels_in, height, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(channels_out, channels_in, 3, 3, dtype=dtype, requires_grad=True)
    return x, weight, torch.randn(channels_out, dtype=dtype, requires_grad=True)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    padding=st.integers(0, 2),
    channels_last=st.booleans(),
)
def test_same_value_and_gradients(size: tuple[int, int], padding: int, channels_last: bool) -> None:
    x, weight, bias = _operands(2, 3, 5, *size)
    if channels_last:
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    theirs = F.conv2d(x, weight, bias, padding=padding)
    upstream = torch.randn_like(theirs)
    ours = conv3x3(x, weight, bias, padding)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(y, (x, weight, bias), upstream) for y in (ours, theirs))
    )


@pytest.mark.parametrize("frozen", ["nothing", "input", "weight"])
def test_gradients_of_gradients(frozen: str) -> None:
    x, weight, _ = _operands(1, 2, 2, 5, 6)
    x.requires_grad_(frozen != "input")
    weight.requires_grad_(frozen != "weight")

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        return conv3x3(x, weight, None, 1)

    assert torch.autograd.gradcheck(convolve, (x, weight))
    assert torch.autograd.gradgradcheck(convolve, (x, weight))


def test_operators_keep_the_rules_of_the_compiler() -> None:
    x, weight, _ = _operands(2, 2, 3, 6, 9)
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(winograd._convolve, (x, weight, 1))
    gradient = torch.randn(2, 3, 6, 9, dtype=torch.float64)
    for flags in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(
            winograd._differentiate,
            (x.detach(), weight.detach(), gradient, 1, *flags),
            test_utils=("test_schema", "test_faketensor"),
        )


def test_rounding_in_float32_is_small() -> None:
    x, weight, bias = _operands(1, 64, 64, 20, 24, dtype=torch.float32)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    error = (conv3x3(x, weight, bias, 1).double() - exact).abs().max() / exact.abs().max()
    assert error < 2e-5


def test_small_convolutions_stay_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_convolve", None)  # not callable
    x, weight, _ = _operands(1, 4, 4, 8, 8)
    monkeypatch.setattr(winograd, "MIN_TILES", 5)
    conv3x3(x, weight, None, 1)
    monkeypatch.setattr(winograd, "MIN_TILES", 1)
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 5)
    conv3x3(x, weight, None, 1)


def test_only_ordinary_convolutions_are_replaced() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
    )
    x = torch.randn(1, 3, 29, 31)
    before, names = layers(x), list(layers.state_dict())
    use_winograd(layers)
    assert [isinstance(layer, WinogradConv2d) for layer in layers] == [
        *(True, True, False, False, False, False)
    ]
    assert list(layers.state_dict()) == names
    torch.testing.assert_close(layers(x), before, rtol=1e-4, atol=1e-5)
