"""Encoders without weights, the distilled networks, and transfer on awkward regions."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import UserError
from core.inference.speed import arrange
from style.photo import official
from style.photo.cascade import DistilledCascade, WaveletCascade, extended
from style.photo.labels import Regions
from style.photo.networks import Encoder, from_wavelet_packets, wavelet_packets
from style.photo.wct import ZCA, moments, transfer
from tests.conftest import SHARED
from tests.reference.cases import close, fill_rule

WEIGHTS = SHARED / "weights"


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_wavelet_packets_are_orthonormal_and_invertible(depth: int) -> None:
    x = rand(2, 3, 16, 24)
    y = wavelet_packets(x, depth)
    assert y.shape == (2, 3 * 4**depth, 16 >> depth, 24 >> depth)
    torch.testing.assert_close(y.square().sum(), x.square().sum())
    torch.testing.assert_close(from_wavelet_packets(y, depth), x)
    if depth == 1:
        torch.testing.assert_close(y[:, ::4], 2 * torch.nn.functional.avg_pool2d(x, 2))


def test_wavelet_cascade_moves_statistics() -> None:
    """But for what independent noise loses in the mean over grids."""
    content, style = rand(1, 3, 144, 192), 0.3 + 0.2 * rand(1, 3, 120, 168, seed=1)
    result = WaveletCascade()(content, style)
    for axis in ("mean", "cov"):
        of = {
            name: x[0].flatten(1).mean(1) if axis == "mean" else torch.cov(x[0].flatten(1))
            for name, x in (("result", result), ("style", style))
        }
        torch.testing.assert_close(of["result"], of["style"], rtol=0.2, atol=1e-4)


def test_wavelet_cascade_shows_no_grid() -> None:
    """Steps over the borders of 8 px blocks are not much larger than others (one grid: 3.6 x)."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 96), torch.linspace(0, 4, 128), indexing="ij")
    content = torch.stack([torch.sin(x + y), torch.cos(2 * x - y), torch.sin(3 * y)])[None]
    style = torch.stack([torch.sin(4 * x - y), torch.cos(x + 3 * y), torch.cos(2 * x * y)])[None]
    result = WaveletCascade()(0.5 + 0.4 * content.double(), 0.5 + 0.4 * style.double())
    steps = result.diff(dim=3).abs().mean((0, 1, 2))
    assert steps[7::8].mean() < 2 * steps.mean()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_distilled_networks_give_the_published_numbers(dtype: torch.dtype) -> None:
    if not WEIGHTS.is_dir():
        pytest.skip(f"no weights at {WEIGHTS}")
    check = json.loads((WEIGHTS / "pcakd_vgg.json").read_text())["check"]
    run = DistilledCascade()
    official.load_distilled(run, WEIGHTS / "pcakd_vgg.npz")
    run.to(dtype)
    content, style = (
        torch.from_numpy((fill_rule().image(name, shape, 0).astype(np.float64) + 1) / 2).to(dtype)
        for name, shape in (("content", [1, 3, 48, 64]), ("style", [1, 3, 40, 56]))
    )
    with np.load(WEIGHTS / check["file"]) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    with torch.no_grad():
        features, residuals = run.encoder(content)
        of_style, _ = run.encoder(style)
        for k in (1, 2, 3):
            close(features[k], golden[f"content_feat{k}"], **check["tolerance"])
        summary = torch.stack([features[0].sum(), features[0].norm()])
        close(summary, golden["content_feat0_sum_l2"], rtol=1e-5, atol=1e-5)
        plain = moved = features[-1]
        for level in (3, 2, 1, 0):
            plain = run.decoder(plain, residuals[level], level)
            moved = run.decoder(
                transfer(moved, of_style[level], None, ZCA), residuals[level], level
            )
            if level in (3, 2):
                close(moved, golden[f"after_decoder_block{level}"], **check["tolerance"])
        close(plain, golden["reconstruction"], **check["tolerance"])
        close(run(content, style), golden["stylised"], **check["tolerance"])


def test_distilled_weights_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name, text in (("other.npz", "does not fit"), ("absent.npz", "No such file")):
        with pytest.raises(UserError, match=text):
            official.load_distilled(DistilledCascade(), tmp_path / name)
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(UserError, match=r"not a \.npz"):
        official.load_distilled(DistilledCascade(), tmp_path / "text.npz")


def test_same_picture_stays() -> None:
    x = 8 * rand(1, 6, 20, 20)
    torch.testing.assert_close(transfer(x, x, None, ZCA), x)


def test_one_pixel_regions_take_the_mean() -> None:
    """Neither a region of one content pixel nor of one style pixel divides by zero."""
    content, style = rand(1, 4, 8, 8), rand(1, 4, 8, 8, seed=1)
    a, b = torch.zeros(8, 8, dtype=torch.long), torch.zeros(8, 8, dtype=torch.long)
    a[0, 0], b[0, :4] = 1, 1
    a[7, :5], b[7, 7] = 2, 2
    result = transfer(content, style, Regions(a, b, (1, 2)))
    assert result.isfinite().all()
    torch.testing.assert_close(result[0, :, 0, 0], style[0, :, 0, :4].mean(1))
    torch.testing.assert_close(result[0, :, 7, :5], style[0, :, 7, 7:].expand(4, 5))
    torch.testing.assert_close(result[0, :, 3], content[0, :, 3])


def test_moments_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rand(5, 1000)
    whole = moments(x, ZCA, identity=False)
    monkeypatch.setattr("style.photo.wct._PIECE_VALUES", 777)
    torch.testing.assert_close(moments(x, ZCA, identity=False), whole)
    torch.testing.assert_close(whole[1], torch.cov(x, correction=0))


def test_padding_repeats_the_edge() -> None:
    x, y, regions = extended(rand(1, 3, 9, 16), rand(1, 3, 8, 8), None)
    assert y.shape == (1, 3, 8, 8)
    assert regions is None
    assert x.shape == (1, 3, 16, 16)
    assert torch.equal(x[:, :, 9:], x[:, :, 8:9].expand(-1, -1, 7, -1))


def test_fast_networks_change_the_rounding_only() -> None:
    """Narrow and wide layers, of which each pads by mirroring."""
    torch.manual_seed(0)
    plain = Encoder(4)
    fast = copy.deepcopy(plain)
    assert "minimal filtering" in arrange([fast], "auto")
    image = torch.rand(1, 3, 64, 72)
    with torch.no_grad():
        wanted, found = plain(image)[0], fast(image)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
