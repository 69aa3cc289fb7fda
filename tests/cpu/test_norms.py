"""Norms are the same in every memory layout, in value and gradients, and with few passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.cpu.accelerate import accelerate
from core.nn.norms import InstanceNorm2d, Normalise
from munit.blocks import InstanceNorm, LayerNorm


def _fast(norm: nn.Module) -> nn.Module:
    accelerate([norm], winograd=False, keep_memory=False)
    return norm


NORMS: list[nn.Module] = [
    _fast(norm)
    for norm in (InstanceNorm2d(3), InstanceNorm(), LayerNorm(3).double().requires_grad_(False))
]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("dims", [(2, 3), (1, 2, 3)])
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (3, 1, 1)])
def test_gain_and_shift(dims: tuple[int, ...], shape: tuple[int, ...], fast: bool) -> None:
    x = _image(2, 3, 4, 5)
    gain, shift = (torch.rand(shape, dtype=torch.float64).requires_grad_() for _ in range(2))
    normalise = _fast(Normalise(dims)) if fast else Normalise(dims)

    def norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        y: Tensor = normalise(x, lambda var, _: 1 / (var + 0.1), gain, shift)
        return y

    var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    torch.testing.assert_close(norm(x, gain, shift), (x - mean) / (var + 0.1) * gain + shift)
    assert torch.autograd.gradcheck(norm, (x, gain, shift))
    assert torch.autograd.gradgradcheck(norm, (x, gain, shift))
    x.requires_grad_(False)
    assert torch.autograd.gradcheck(norm, (x, gain, shift))


def _image(*shape: int) -> Tensor:
    x = 2 + torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def test_layer_is_torchs() -> None:
    torch.testing.assert_close(NORMS[0](_image(2, 3, 4, 5)), F.instance_norm(_image(2, 3, 4, 5)))


@pytest.mark.parametrize("norm", NORMS)
def test_layouts_agree(norm: Callable[[Tensor], Tensor]) -> None:
    x = _image(2, 3, 4, 5)
    upstream = torch.randn_like(x)
    ways = [norm(x), norm(x.contiguous())]
    assert ways[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*ways)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, upstream) for y in ways))
    assert torch.autograd.gradcheck(norm, x)
    assert torch.autograd.gradgradcheck(norm, x)


@pytest.mark.parametrize("norm", [InstanceNorm2d(3), NORMS[0]], ids=["plain", "fast"])
def test_a_single_pixel_is_refused(norm: nn.Module) -> None:
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        norm(_image(2, 3, 1, 1))


def test_layer_has_no_state() -> None:
    assert isinstance(NORMS[0], nn.InstanceNorm2d)
    assert not NORMS[0].state_dict()
