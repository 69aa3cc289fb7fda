"""Each tiled operation against torch's own, over odd sizes, strides and tiles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.tiling.run import run_tiled
from core.tiling.sources import Moments

CPU = torch.device("cpu")
sides = st.integers(5, 23)
tiles = st.sampled_from([3, 4, 7, 11, 16, 25])
few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(function: Callable[[Tensor], Tensor], image: Tensor, tile: int) -> None:
    """The tiled result equals the plain one, and the image is left alone."""
    before = image.clone()
    result = run_tiled(function, image, tile=tile, device=CPU, dtype=image.dtype)
    assert torch.equal(image, before)
    expected = function(image.clone())
    assert result.shape == expected.shape
    tolerance = 1e-10 if image.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


@few
@given(
    sides, sides, tiles, st.sampled_from([1, 3, (2, 3), 4]), st.sampled_from([1, 2, (3, 2)]),
    st.sampled_from([0, 1, (2, 1)]), st.sampled_from([1, 2]), st.sampled_from([1, 2]),
    st.booleans(),
)  # fmt: skip
def test_conv(h, w, tile, kernel, stride, padding, dilation, groups, bias):
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    h, w = h + 4, w + 4
    weight = noise(6, 4 // groups, kh, kw, seed=1)
    shift = noise(6, seed=2) if bias else None
    assert_same(
        lambda x: F.conv2d(x, weight, shift, stride, padding, dilation, groups),
        noise(2, 4, h, w), tile,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@few
@given(sides, sides, tiles, st.sampled_from([2, 3, (4, 5)]), st.integers(1, 3))
def test_conv_same_and_valid(h, w, tile, kernel, dilation):
    conv = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation).double()
    assert_same(conv, noise(1, 2, h, w), tile)
    conv.padding = "valid"
    assert_same(conv, noise(1, 2, h + 8, w + 8), tile)


@few
@given(
    sides, sides, tiles, st.sampled_from([1, 2, 3, (4, 3)]), st.sampled_from([1, 2, 3, (2, 5)]),
    st.sampled_from([0, 1, (0, 2)]), st.sampled_from([0, 1]), st.sampled_from([1, 2]),
    st.sampled_from([1, 2]), st.booleans(),
)  # fmt: skip
def test_conv_transpose(h, w, tile, kernel, stride, padding, extra, dilation, groups, bias):
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    if extra >= dilation and extra >= min(stride if isinstance(stride, tuple) else (stride,)):
        extra = 0
    weight = noise(4, 6 // groups, kh, kw, seed=1)
    shift = noise(6, seed=2) if bias else None
    assert_same(
        lambda x: F.conv_transpose2d(x, weight, shift, stride, padding, extra, groups, dilation),
        noise(2, 4, h, w), tile,
    )  # fmt: skip


@few
@given(
    sides, sides, tiles, st.sampled_from(["constant", "reflect", "replicate"]),
    st.tuples(*[st.integers(-2, 4)] * 4),
)  # fmt: skip
def test_pad(h, w, tile, mode, pads):
    value = 0.5 if mode == "constant" else None
    assert_same(lambda x: F.pad(x, pads, mode, value), noise(1, 2, h, w), tile)
    weight = noise(3, 2, 3, 3, seed=1)
    assert_same(lambda x: F.conv2d(F.pad(x, [4] * 4, mode), weight), noise(1, 2, h, w), tile)


@few
@given(
    sides, sides, tiles, st.integers(2, 3), st.integers(1, 3), st.integers(0, 1),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_pool(h, w, tile, kernel, stride, padding, flag, skip):
    image = noise(2, 3, h, w)
    dilation = 2 if skip else 1
    assert_same(lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, flag), image, tile)
    assert_same(
        lambda x: F.avg_pool2d(x, kernel, stride, padding, count_include_pad=flag), image, tile
    )


@few
@given(
    sides, sides, tiles, st.sampled_from(["nearest", "nearest-exact", "bilinear"]), st.booleans()
)
def test_interpolate(h, w, tile, mode, align):
    options = {"align_corners": align} if mode == "bilinear" else {}
    for target in (
        {"scale_factor": 2}, {"scale_factor": (3, 1)}, {"scale_factor": 0.6}, {"size": (17, 9)}
    ):  # fmt: skip
        assert_same(lambda x, t=target: F.interpolate(x, mode=mode, **t, **options),
                    noise(1, 2, h, w), tile)  # fmt: skip


NORMS = {
    "instance": nn.InstanceNorm2d(6),
    "instance affine": nn.InstanceNorm2d(6, affine=True),
    "instance running": nn.InstanceNorm2d(6, track_running_stats=True),
    "batch": nn.BatchNorm2d(6),
    "group": nn.GroupNorm(3, 6),
    "layer": nn.GroupNorm(1, 6),
}


@pytest.mark.parametrize("name", NORMS)
@few
@given(sides, sides, tiles)
def test_norm(name, h, w, tile):
    norm = NORMS[name].double().eval()
    for index, tensor in enumerate([*norm.parameters(), *norm.buffers()]):
        if tensor.is_floating_point():
            tensor.data = noise(6, seed=index).abs() + 0.1
    conv = nn.Conv2d(6, 6, 3, padding=1).double()
    assert_same(norm, noise(2, 6, h, w) * 3 + 5, tile)
    assert_same(lambda x: conv(norm(conv(x))), noise(2, 6, h, w), tile)


def munit_layer_norm(x: Tensor) -> Tensor:
    mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
    return (x - mean) / (std + 1e-5)


def gate(x: Tensor) -> Tensor:
    return x * torch.sigmoid(F.adaptive_avg_pool2d(x, 1) * 2)


def inplace_chain(x: Tensor) -> Tensor:
    y = x * 2
    alias = y.detach()
    y += 1
    F.leaky_relu(y, 0.2, inplace=True)
    y.mul_(0.5).sub_(torch.ones(3, 1, 1, dtype=x.dtype))
    return torch.cat([alias, x], 1)


POINTWISE = {
    "activations": lambda x: F.elu(F.gelu(F.silu(x))) + F.softplus(x.tanh()) - F.leaky_relu(x, 0.1),
    "inplace": inplace_chain,
    "prelu": nn.PReLU(3, 0.3).double(),
    "scalars": lambda x: (1 - x) / 2 + 3 / (2 + x.abs()) - x**2 + (-x).clamp(-1, 1),
    "operands": lambda x: torch.add(x, x.exp(), alpha=2) * x / (1 + x.square()),
    "constants": lambda x: x * noise(3, 1, 1) + noise(2, 3, 1, 1, seed=1) - noise(1, 1, 1, 1),
    "left constant": lambda x: noise(3, 1, 1) - x,
    "maps": lambda x: x + noise(*x.shape) * noise(x.shape[-2], 1) + noise(x.shape[-1]),
    "cat": lambda x: torch.cat([x, noise(2, 4, 1, 1).expand(2, 4, *x.shape[2:]), x.relu()], dim=-3),
    "crop": lambda x: x[:, 1:, 1:-1, 2::2] + x[..., 1:-1, 2::2][:, :1],
    "statistics": lambda x: x / x.std((2, 3), keepdim=True) - x.mean() + torch.var(x, (0, 2, 3))[0],
    "var_mean": lambda x: x - torch.var_mean(x, (2, 3), correction=0, keepdim=True)[1],
    "layer norm": munit_layer_norm,
    "gate": gate,
    "eval dropout": lambda x: F.dropout(x, 0.5, training=False).clone(),
    "casts": lambda x: x.to(x.device).to(x.dtype).contiguous().detach(),
}


@pytest.mark.parametrize("name", POINTWISE)
@settings(few, max_examples=8)
@given(sides, sides, tiles)
def test_pointwise(name, h, w, tile):
    assert_same(POINTWISE[name], noise(2, 3, h, w), tile)


def test_reductions_give_ordinary_tensors():
    image = noise(2, 3, 11, 13)
    for function in (
        lambda x: x.mean((2, 3)),
        lambda x: x.mean(),
        lambda x: x.var((1, 2, 3)),
        lambda x: x.std(False),
        lambda x: torch.std_mean(x, (2, 3), correction=0)[0],
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1) @ noise(3, 5),
    ):
        assert_same(function, image, 4)


def test_constant_image():
    assert_same(F.instance_norm, torch.full((1, 3, 17, 20), 0.3), 8)


def test_large_mean_small_variance():
    image = (noise(1, 2, 37, 41) * 0.01 + 1000).float()
    expected = F.instance_norm(image.double(), eps=1e-12)
    result = run_tiled(lambda x: F.instance_norm(x, eps=1e-12), image, tile=8, device=CPU)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)


@few
@given(st.integers(1, 9), st.integers(1, 9))
def test_moments_merge(split, height):
    image = noise(2, 3, height, 10) + 100
    parts = [Moments.consuming(each.clone()) for each in image.split(split, dim=3)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    var, mean = torch.var_mean(image, (2, 3), correction=0)
    torch.testing.assert_close(total.mean, mean)
    torch.testing.assert_close(total.var, var, rtol=1e-9, atol=1e-9)
