"""Winograd's 3x3 convolution is the convolution, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.nn.winograd import WinogradConv2d, with_winograd


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (13, 10), (8, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_same_value_and_gradient(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 7, 3, padding=1, bias=bias).double().requires_grad_(False)
    x = torch.randn(2, 5, *size, dtype=torch.float64, requires_grad=True)
    ours, theirs = WinogradConv2d(plain)(x), plain(x)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for y in (ours, theirs))
    )


def test_rounding_in_float32_is_small() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 64, 20, 24)
    exact = plain.double()(x.double())
    error = (WinogradConv2d(plain.float())(x).double() - exact).abs().max() / exact.abs().max()
    assert error < 2e-5


def test_only_wide_ordinary_convolutions_are_replaced() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
    ).requires_grad_(False)
    replaced = with_winograd(layers, min_channels=8)
    assert [isinstance(layer, WinogradConv2d) for layer in replaced] == [
        *(False, True, False, False, False, False)
    ]
    x = torch.randn(1, 3, 9, 11)
    torch.testing.assert_close(replaced(x), layers(x), rtol=1e-4, atol=1e-5)
