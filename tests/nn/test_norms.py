"""Norms have the right gradient in every layout of image and gradient, also of a single image.

torch's own instance norm has not (2.14, on a CPU): `core.nn.norms.instance_norm`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.cpu.accelerate import accelerate
from core.nn.norms import BatchNorm2d, InstanceNorm2d
from drit.layers import LayerNorm as DRITLayerNorm
from munit.blocks import InstanceNorm, LayerNorm
from munit.losses import domain_invariant_distance
from tests.thorough import only_if_thorough

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def _adain(norm: InstanceNorm, x: Tensor) -> Tensor:
    gain = 1 + torch.arange(3.0, dtype=x.dtype).expand(len(x), 3)[..., None, None]
    return norm(x, gain, -gain)


def _per_image() -> BatchNorm2d:
    norm = BatchNorm2d(3)
    norm.per_image = True
    return norm


def _with_gain(norm: Any) -> nn.Module:
    """A norm with the gain and shift of `_affine` as parameters."""
    norm.weight.data = 1 + torch.arange(3.0)
    norm.bias.data = -norm.weight.data
    return norm


def _batch(x: Tensor) -> Tensor:
    """Group norm of one image that has the whole batch side by side."""
    rows = x.transpose(0, 1).flatten(1)[None]
    return F.group_norm(rows, 3).view(3, len(x), *x.shape[2:]).transpose(0, 1)


# Each with its definition in steps that torch has right.
def _instance(x: Tensor) -> Tensor:
    return F.group_norm(x, 3)


def _layer(x: Tensor) -> Tensor:
    return F.group_norm(x, 1)


def _published_layer(x: Tensor) -> Tensor:
    deviation = x.flatten(1).std(1) + 1e-5
    return (x - x.mean((1, 2, 3), keepdim=True)) / deviation[:, None, None, None]


def _affine(x: Tensor) -> Tensor:
    gain = 1 + torch.arange(3.0, dtype=x.dtype)[:, None, None]
    return F.group_norm(x, 3) * gain - gain


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "instance": (lambda: InstanceNorm2d(3), _instance),
    "instance, affine": (lambda: _with_gain(InstanceNorm2d(3, affine=True)), _affine),
    "batch": (lambda: BatchNorm2d(3), _batch),
    "DCGAN batch": (lambda: nn.BatchNorm2d(3), _batch),
    "batch, per image": (_per_image, _instance),
    "MUNIT instance": (InstanceNorm, _instance),
    "MUNIT layer": (lambda: LayerNorm(3), _published_layer),
    "MUNIT adaptive": (InstanceNorm, _affine),
    "DRIT layer": (lambda: DRITLayerNorm(3), _layer),
    "WGAN layer": (lambda: nn.GroupNorm(1, 3), _layer),
}


def _function(name: str, dtype: torch.dtype, fast: bool) -> Callable[[Tensor], Tensor]:
    norm: Any = NORMS[name][0]().to(dtype)
    if name == "MUNIT layer":
        nn.init.ones_(norm.gamma)
    if fast:
        accelerate([norm], winograd=True, keep_memory=False)
    return (lambda x: _adain(norm, x)) if name == "MUNIT adaptive" else norm


def _assert_right(
    function: Callable[[Tensor], Tensor], name: str, number: int, dtype: torch.dtype
) -> None:
    """Compare value and gradient with those of the definition, in all layouts of either."""
    definition = NORMS[name][1]
    generator = torch.Generator().manual_seed(number)
    image, upstream = torch.randn(2, number, 3, 5, 4, dtype=torch.float64, generator=generator)
    exact = image.clone().requires_grad_()
    expected = definition(exact)
    (gradient,) = torch.autograd.grad(expected, exact, upstream)
    for of_image in LAYOUTS:
        for of_gradient in LAYOUTS:
            x = image.to(dtype).contiguous(memory_format=of_image).requires_grad_()
            y = function(x)
            along = upstream.to(dtype).contiguous(memory_format=of_gradient)
            (found,) = torch.autograd.grad(y, x, along)
            torch.testing.assert_close(y, expected.to(dtype))
            torch.testing.assert_close(found, gradient.to(dtype), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", NORMS)
def test_gradients_in_every_layout(name: str, number: int, dtype: torch.dtype, fast: bool) -> None:
    _assert_right(_function(name, dtype, fast), name, number, dtype)


@pytest.mark.parametrize("name", NORMS)
def test_definitions_by_finite_differences(name: str) -> None:
    """What the gradients are compared with is right itself, and so are ours in float64."""
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    for function in (NORMS[name][1], _function(name, torch.float64, fast=False)):
        assert torch.autograd.gradcheck(function, x)


@pytest.mark.parametrize("name", NORMS)
def test_compiled_gradients(name: str) -> None:
    """One graph for each layout and batch, whatever layout the gradient comes in."""
    torch._dynamo.reset()
    function = torch.compile(_function(name, torch.float32, fast=True), backend="aot_eager")
    _assert_right(function, name, 1, torch.float32)


def test_gradients_by_the_compiler_of_cpus() -> None:
    """One graph, for compiling takes seconds: of the norm that torch has wrong."""
    only_if_thorough("compiles C++; graphs without code run always")
    torch._dynamo.reset()
    function = torch.compile(_function("instance", torch.float64, fast=False), dynamic=False)
    image, upstream = torch.randn(2, 1, 3, 5, 4, dtype=torch.float64)
    x = image.requires_grad_()
    along = upstream.contiguous(memory_format=torch.channels_last)
    (found,) = torch.autograd.grad(function(x), x, along)
    (expected,) = torch.autograd.grad(_instance(x), x, upstream)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_second_gradients_of_instance_norm(layout: torch.memory_format, number: int) -> None:
    x = torch.randn(number, 3, 2, 3, dtype=torch.float64).contiguous(memory_format=layout)

    def function(x: Tensor) -> Tensor:
        return InstanceNorm2d(3)(x).contiguous(memory_format=layout) * 1

    assert torch.autograd.gradcheck(function, x.requires_grad_())
    assert torch.autograd.gradgradcheck(function, x)


def test_the_gradient_of_a_distance_whose_layout_is_turned() -> None:
    x, y = torch.randn(2, 1, 3, 5, 4, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: domain_invariant_distance(x, y), x)
