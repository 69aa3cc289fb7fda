"""Convolutions by minimal filtering are the convolutions, in value and in every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.cpu import winograd
from core.cpu.filters import KeptFilters, transformed
from core.cpu.tiles import Mode
from core.cpu.winograd import conv2d, suits
from tests.cpu.convolutions import any_size, random, same

__all__ = ["any_size"]  # a fixture

_MODES: st.SearchStrategy[Mode] = st.sampled_from(["reflect", "replicate"])
_SIZES = st.tuples(st.integers(4, 14), st.integers(4, 14))


@settings(max_examples=40, deadline=None)
@given(size=_SIZES, taps=st.integers(3, 4), padding=st.integers(0, 2), channels_last=st.booleans())
def test_convolution(size: tuple[int, int], taps: int, padding: int, channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = random(2, 3, *size).contiguous(memory_format=layout).requires_grad_()
    weight, bias = random(5, 3, taps, taps).requires_grad_(), random(5).requires_grad_()
    theirs = F.conv2d(x, weight, bias, padding=padding)
    same(conv2d(x, weight, bias, padding), theirs, x, weight, bias)


@settings(max_examples=40, deadline=None)
@given(size=st.tuples(st.integers(2, 14), st.integers(2, 14)), large=st.booleans(), mode=_MODES)
def test_convolution_whose_padding_repeats_the_image(
    size: tuple[int, int], large: bool, mode: Mode
) -> None:
    x = random(2, 3, *size).requires_grad_()
    weight, bias = random(5, 3, 3, 3).requires_grad_(), random(5).requires_grad_()
    theirs = F.conv2d(F.pad(x, (1, 1, 1, 1), mode), weight, bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "LARGE_PLACES", 1 if large else 10**6)
        same(conv2d(x, weight, bias, 1, mode=mode), theirs, x, weight, bias)


@settings(max_examples=20, deadline=None)
@given(size=_SIZES, taps=st.integers(3, 4), padding=st.integers(0, 2))
def test_convolution_by_fixed_filters(size: tuple[int, int], taps: int, padding: int) -> None:
    x, weight, bias = random(2, 3, *size).requires_grad_(), random(5, 3, taps, taps), random(5)
    theirs = F.conv2d(x, weight, bias, padding=padding)
    ours = conv2d(x, weight, bias, padding, kept=KeptFilters(fixed=True))
    same(ours.relu_(), theirs.relu(), x)


@pytest.mark.parametrize("large", [1, 10**6])
def test_gradients_of_gradients_by_fixed_filters(
    large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "LARGE_PLACES_FIXED", large)
    weight, bias = random(2, 2, 3, 3), random(2)
    kept = KeptFilters(fixed=True)
    x = random(1, 2, 5, 4).requires_grad_()
    same(conv2d(x, weight, bias, 1, kept=kept), F.conv2d(x, weight, bias, padding=1), x)
    for after in (nn.Identity(), nn.ReLU(inplace=True)):
        assert torch.autograd.gradgradcheck(
            lambda x, after=after: after(conv2d(x, weight, bias, 1, kept=kept)), x
        )


@pytest.mark.parametrize("large", [1, 10**6])
@pytest.mark.parametrize("taps", [3, 4])
def test_tiles_of_any_size(taps: int, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "LARGE_PLACES", large)
    x, weight = random(2, 3, 9, 14).requires_grad_(), random(5, 3, taps, taps).requires_grad_()
    bias = random(5).requires_grad_()
    same(conv2d(x, weight, bias, 1), F.conv2d(x, weight, bias, padding=1), x, weight, bias)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("frozen", ["nothing", "input", "weight", "bias"])
def test_gradients_of_gradients(frozen: str, mode: Mode) -> None:
    x = random(1, 2, 5, 4).requires_grad_(frozen != "input")
    weight = random(2, 2, 3, 3).requires_grad_(frozen != "weight")
    bias = random(2).requires_grad_(frozen != "bias")

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return conv2d(x, weight, bias, 1, mode)

    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


def test_operators_keep_the_rules_of_the_compiler() -> None:
    x = random(2, 2, 6, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, gradient = random(3, 2, 3, 3).requires_grad_(), random(2, 3, 6, 9).requires_grad_()
    bias = random(3).requires_grad_()
    filters, large = (transformed(weight.detach(), outputs) for outputs in (4, 6))
    torch.library.opcheck(transformed, (weight.detach(), 6))
    for form in (
        (weight, filters, bias, 1, "zeros"),
        (weight, filters, None, 1, "reflect"),
        (weight.detach(), large, bias.detach(), 1, "zeros"),
    ):
        torch.library.opcheck(winograd._convolve, (x, *form))
    for form in (
        (x, filters, 1, "zeros", [True, True, True]),
        (x, filters, 1, "reflect", [False, True, False]),
        (None, filters, 1, "replicate", [True, False, False]),
        (None, large, 1, "zeros", [True, False, False]),
    ):
        torch.library.opcheck(winograd._gradients, (gradient, weight, *form))


@pytest.mark.parametrize(("taps", "large"), [(3, 1), (3, 10**6), (4, 1)])
def test_rounding_in_float32_is_small(
    taps: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "LARGE_PLACES", large)
    x, weight = random(1, 64, 20, 24), random(64, 64, taps, taps)
    exact = F.conv2d(x, weight)
    error = (conv2d(x.float(), weight.float(), None) - exact).abs().max() / exact.abs().max()
    assert error < 2e-5


def test_what_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = random(1, 4, 8, 8), random(4, 4, 3, 3)
    assert suits(x, weight, 1, "reflect")
    assert not suits(random(1, 4, 1, 64), weight, 1, "reflect")  # nothing to mirror
    assert not suits(x, random(4, 4, 5, 5), 1, "zeros")
    monkeypatch.setattr(winograd, "MIN_PLACES", 65)
    assert not suits(x, weight, 1, "zeros")
    monkeypatch.setattr(winograd, "MIN_PLACES", 1)
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 5)
    assert not suits(x, weight, 1, "zeros")
