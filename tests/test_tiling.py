"""Tiling against the whole-image forward: single operations, whole networks, memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from core import tiling, tiling_sources
from core.errors import UserError
from core.tiling import available_bytes, estimate_peak_bytes, fits, run_tiled
from core.tiling_sources import Moments, Stored

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


# --- single operations -----------------------------------------------------------------------


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


def test_tile_of_one_pixel():
    assert_same(resnet(4, 1)[:10], noise(1, 3, 9, 6, dtype=torch.float32), 1)


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


# --- whole networks --------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), nn.InstanceNorm2d(dim), nn.ReLU(True),
            nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), nn.InstanceNorm2d(dim),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def resnet(dim: int = 8, num_blocks: int = 3) -> nn.Module:
    def norm(channels: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(channels), nn.ReLU(True)]

    torch.manual_seed(0)
    return nn.Sequential(
        nn.ReflectionPad2d(3), nn.Conv2d(3, dim, 7), *norm(dim),
        nn.Conv2d(dim, 2 * dim, 3, 2, 1), *norm(2 * dim),
        nn.Conv2d(2 * dim, 4 * dim, 3, 2, 1), *norm(4 * dim),
        *[ResidualBlock(4 * dim) for _ in range(num_blocks)],
        nn.ConvTranspose2d(4 * dim, 2 * dim, 3, 2, 1, 1), *norm(2 * dim),
        nn.ConvTranspose2d(2 * dim, dim, 3, 2, 1, 1), *norm(dim),
        nn.ReflectionPad2d(3), nn.Conv2d(dim, 3, 7), nn.Tanh(),
    ).eval()  # fmt: skip


class UNetLevel(nn.Module):
    """Skip around a deeper level, with the in-place activations of the published pix2pix."""

    def __init__(self, outer: int, inner: int, deeper: nn.Module | None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LeakyReLU(0.2, True), nn.Conv2d(outer, inner, 4, 2, 1), nn.BatchNorm2d(inner),
            *([deeper] if deeper else []), nn.ReLU(True),
            nn.ConvTranspose2d(inner * (2 if deeper else 1), outer, 4, 2, 1),
            nn.BatchNorm2d(outer), nn.Dropout(0.5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def unet() -> nn.Module:
    torch.manual_seed(0)
    level = None
    for outer, inner in ((32, 32), (32, 32), (16, 32), (8, 16)):
        level = UNetLevel(outer, inner, level)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1),
        level,
        nn.ReLU(True),
        nn.ConvTranspose2d(16, 3, 4, 2, 1),
        nn.Tanh(),
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.01, 0.2)
    return net.eval()


NETWORKS = {"resnet": resnet, "unet": unet}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(96, 160), (64, 96)])
def test_network_equals_whole_image(name, size):
    net = NETWORKS[name]()
    image = noise(1, 3, *size, dtype=torch.float32).clamp(-1, 1)
    with torch.no_grad():
        expected = net(image)
    assert expected.std() > 0.01
    result = run_tiled(net, image, tile=32, device=CPU)
    assert (result - expected).abs().max() < 1e-5


def test_image_side_is_no_multiple_of_anything():
    net = resnet()
    image = noise(2, 3, 97, 135, dtype=torch.float32).clamp(-1, 1)
    with torch.inference_mode():
        expected = net(image)
        result = run_tiled(net, image, tile=31, device=CPU)
    assert (result - expected).abs().max() < 1e-5


def test_constant_image():
    image = torch.full((1, 3, 40, 56), 0.3, dtype=torch.float64)
    assert_same(lambda x: F.instance_norm(x), image, 16)
    # One norm only: each multiplies the rounding noise of a flat picture by eps^-1/2.
    assert_same(resnet(4, 1)[:5].double(), image, 16)


def test_real_image(shared_data):
    from torchvision.io import decode_image

    path = sorted(shared_data.rglob("*.jpg"))[0]
    image = decode_image(str(path)).float()[None, :3] / 127.5 - 1
    image = image[..., : image.shape[-2] // 4 * 4, : image.shape[-1] // 4 * 4][..., :200, :200]
    net = resnet(4, 2)
    with torch.no_grad():
        expected = net(image)
    assert (run_tiled(net, image, tile=64, device=CPU) - expected).abs().max() < 1e-5


def test_bf16_autocast_and_storage():
    net = resnet()
    image = noise(1, 3, 64, 96, dtype=torch.float32).clamp(-1, 1)
    with torch.no_grad():
        exact = net(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain = net(image)
            mixed = run_tiled(net, image, tile=32, device=CPU)
    stored = run_tiled(net, image, tile=32, device=CPU, dtype=torch.bfloat16)
    half = run_tiled(net.bfloat16(), image, tile=32, device=CPU, dtype=torch.bfloat16)
    bound = 2 * (plain.float() - exact).abs().mean()
    for result in (mixed, stored, half):
        assert result.dtype == torch.float32
        assert (result - exact).abs().mean() < bound


def test_compiled_network_runs_uncompiled():
    net = resnet(4, 1)
    image = noise(1, 3, 32, 40, dtype=torch.float32)
    with torch.no_grad():
        expected = net(image)
    net.compile()
    assert (run_tiled(net, image, tile=16, device=CPU) - expected).abs().max() < 1e-5


# --- memory ----------------------------------------------------------------------------------


class ConvInputs(TorchDispatchMode):
    """The largest input side that a convolution reads."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = {False: 0, True: 0}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and args[0].device.type != "meta":
            transposed = args[6]
            self.largest[transposed] = max(self.largest[transposed], *args[0].shape[-2:])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "halo"), [("resnet", 6), ("unet", 2)])
def test_no_convolution_reads_more_than_tile_and_halo(name, halo):
    tile = 16
    with ConvInputs() as seen:
        run_tiled(NETWORKS[name](), noise(1, 3, 96, 160).float(), tile=tile, device=CPU)
    stride = 2
    assert 0 < seen.largest[False] <= max(stride * tile + 2, tile + halo)
    assert 0 < seen.largest[True] <= tile // stride + 2


def test_activations_are_freed(monkeypatch):
    stores: weakref.WeakSet[Stored] = weakref.WeakSet()
    most = 0

    class Watched(Stored):
        def __init__(self, plan, pixels):
            nonlocal most
            super().__init__(plan, pixels)
            stores.add(self)
            most = max(most, len(stores))

    monkeypatch.setattr(tiling_sources, "Stored", Watched)
    gc.disable()
    try:
        run_tiled(resnet(4, 6), noise(1, 3, 32, 32).float(), tile=16, device=CPU)
    finally:
        gc.enable()
    # The block's input, the convolution's input and its output.
    assert most == 3


def test_estimated_peak_of_a_known_chain():
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1))
    # Without gradients: the image, which the caller holds, and both sides of the widest layer.
    assert estimate_peak_bytes(net, 3, 1000, 1001) == (3 + 16 + 8) * 1000 * 1001 * 4
    small = estimate_peak_bytes(resnet(), 3, 256, 256)
    large = estimate_peak_bytes(resnet(), 3, 8192, 8192)
    assert 0.9 < large / small / 1024 < 1.1


def test_fits(monkeypatch):
    need = estimate_peak_bytes(resnet(), 3, 64, 64)
    for batch in (1, 2):
        monkeypatch.setattr(tiling, "available_bytes", lambda device: int(1.5 * need))
        assert fits(resnet(), (batch, 3, 64, 64), CPU) == (batch == 1)


def test_available_bytes(monkeypatch, tmp_path):
    gib = 2**30
    assert gib // 16 < available_bytes(CPU) < 2**20 * gib
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 200 kB\nMemAvailable:    100 kB\n")
    monkeypatch.setattr(tiling, "MEMINFO", meminfo)
    assert available_bytes(CPU) == 102400
    monkeypatch.setattr(tiling, "MEMINFO", tmp_path / "absent")
    assert available_bytes(CPU) > gib // 16
    with pytest.raises(UserError, match="mps"):
        available_bytes(torch.device("mps"))


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x.flatten(1), "flatten"),
        (lambda x: F.linear(x, torch.ones(3, x.shape[-1])), "linear"),
        (lambda x: x.mean(1), r"mean\(dim=1\)"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), "circular"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "bicubic"),
        (lambda x: F.dropout(x, 0.5, training=True), r"eval\(\)"),
        (lambda x: nn.BatchNorm2d(3)(x), r"eval\(\)"),
        (lambda x: torch.cat([x, x], 0), r"cat\(dim=0\)"),
        (lambda x: x.to(torch.uint8), "uint8"),
        (lambda x: x[0], "indexing with 0"),
        (lambda x: x[:, :1].relu_(), "crop"),
        (lambda x: F.adaptive_avg_pool2d(x, 2), "adaptive_avg_pool2d"),
        (lambda x: x + F.avg_pool2d(x, x.shape[-1]), "broadcasting"),
        (lambda x: bool(x.sum() > 0), "sum"),
        (lambda x: torch.ones(1, 3, 8, 8).add_(x), "add_"),
    ],
)
def test_refused_by_name(function, name):
    with pytest.raises(UserError, match=name) as caught:
        run_tiled(function, torch.ones(1, 3, 8, 8), tile=4, device=CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (torch.ones(3, 8, 8), {}, r"\(3, 8, 8\)"),
        (torch.ones(1, 3, 8, 8, dtype=torch.uint8), {}, "uint8"),
        (torch.ones(1, 3, 8, 8), {"tile": 0}, "side 0"),
        (torch.ones(1, 3, 8, 8), {"dtype": torch.int32}, "int32"),
    ],
)
def test_bad_arguments(image, options, message):
    with pytest.raises(UserError, match=message):
        run_tiled(nn.Identity(), image, **{"tile": 4, "device": CPU} | options)
