"""Tiled networks against the whole-image forward; memory; what is refused."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from core.errors import UserError
from core.tiling import run, sources
from core.tiling.run import available_bytes, estimate_peak_bytes, fits, run_tiled
from core.tiling.sources import Stored

CPU = torch.device("cpu")


def noise(*shape: int) -> Tensor:
    """An image in [-1, 1]."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


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
    image = noise(1, 3, *size)
    with torch.no_grad():
        expected = net(image)
    assert expected.std() > 0.01
    result = run_tiled(net, image, tile=32, device=CPU)
    assert (result - expected).abs().max() < 1e-5


def test_image_side_is_no_multiple_of_anything():
    net = resnet()
    image = noise(2, 3, 97, 135)
    with torch.inference_mode():
        expected = net(image)
        result = run_tiled(net, image, tile=31, device=CPU)
    assert (result - expected).abs().max() < 1e-5


def test_tile_of_one_pixel():
    net = resnet(4, 1)[:10]
    image = noise(1, 3, 9, 6)
    with torch.no_grad():
        expected = net(image)
    assert (run_tiled(net, image, tile=1, device=CPU) - expected).abs().max() < 1e-5


def test_constant_image():
    image = torch.full((1, 3, 40, 56), 0.3, dtype=torch.float64)
    # One norm only: each multiplies the rounding noise of a flat picture by eps^-1/2.
    net = resnet(4, 1)[:5].double()
    with torch.no_grad():
        expected = net(image)
    result = run_tiled(net, image, tile=16, device=CPU, dtype=torch.float64)
    assert (result - expected).abs().max() < 1e-10


def test_real_image(shared_data):
    from torchvision.io import decode_image

    path = sorted(shared_data.rglob("*.jpg"))[0]
    image = decode_image(str(path)).float()[None, :3] / 127.5 - 1
    image = image[..., : image.shape[-2] // 4 * 4, : image.shape[-1] // 4 * 4][..., :200, :200]
    net = resnet(4, 2)
    with torch.no_grad():
        expected = net(image)
    assert (run_tiled(net, image, tile=64, device=CPU) - expected).abs().max() < 1e-5


def test_an_estimate_under_autocast_leaves_real_weights() -> None:
    network, image = nn.Conv2d(3, 2, 3), torch.rand(1, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        estimate_peak_bytes(network, image.shape, torch.device("cpu"))
        assert type(network(image)) is Tensor


def test_bf16_autocast_and_storage():
    net = resnet()
    image = noise(1, 3, 64, 96)
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
    image = noise(1, 3, 32, 40)
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
        run_tiled(NETWORKS[name](), noise(1, 3, 96, 160), tile=tile, device=CPU)
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

    monkeypatch.setattr(sources, "Stored", Watched)
    gc.disable()
    try:
        run_tiled(resnet(4, 6), noise(1, 3, 32, 32), tile=16, device=CPU)
    finally:
        gc.enable()
    # The block's input, the convolution's input and its output.
    assert most == 3


def test_estimated_peak_of_a_known_chain():
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1))
    # Without gradients: the image, which the caller holds, and both sides of the widest layer.
    assert estimate_peak_bytes(net, (1, 3, 1000, 1001), CPU) == (3 + 16 + 8) * 1000 * 1001 * 4
    small = estimate_peak_bytes(resnet(), (1, 3, 256, 256), CPU)
    large = estimate_peak_bytes(resnet(), (1, 3, 8192, 8192), CPU)
    assert 0.9 < large / small / 1024 < 1.1


def test_fits(monkeypatch):
    need = estimate_peak_bytes(resnet(), (1, 3, 64, 64), CPU)
    for batch in (1, 2):
        monkeypatch.setattr(run, "available_bytes", lambda device: int(1.5 * need))
        assert fits(resnet(), (batch, 3, 64, 64), CPU) == (batch == 1)


def test_available_bytes(monkeypatch, tmp_path):
    gib = 2**30
    assert gib // 16 < available_bytes(CPU) < 2**20 * gib
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 200 kB\nMemAvailable:    100 kB\n")
    monkeypatch.setattr(run, "MEMINFO", meminfo)
    assert available_bytes(CPU) == 102400
    monkeypatch.setattr(run, "MEMINFO", tmp_path / "absent")
    assert available_bytes(CPU) > gib // 16
    with pytest.raises(UserError, match="mps"):
        available_bytes(torch.device("mps"))


def test_handle_looks_like_an_image():
    def network(x: Tensor) -> Tensor:
        assert isinstance(x, Tensor)
        assert x.shape == x.size() == (1, 3, 8, 6)
        assert (x.dtype, x.device, x.ndim, x.numel()) == (torch.bfloat16, CPU, 4, 144)
        assert len(x) == 1
        assert "8, 6" in repr(x)
        wide = x.float()
        wide += 1
        return wide - x.to(CPU).contiguous()

    image = noise(1, 3, 8, 6).bfloat16().float()
    result = run_tiled(network, image, tile=4, device=CPU, dtype=torch.bfloat16)
    torch.testing.assert_close(result, torch.ones_like(image))


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x.flatten(1), "flatten"),
        (lambda x: F.linear(x, torch.ones(3, x.shape[-1])), "linear"),
        (lambda x: x.mean(1), r"mean\(dim=1\)"),
        (lambda x: x.mean((2, 3), dtype=torch.float64), r"mean\(dtype\)"),
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
