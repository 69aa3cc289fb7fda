"""What structure and detail see, and what they do not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core.evaluation.metrics.detail import band_energies, detail_distance
from core.evaluation.metrics.structure import structure_distance


def scenes(number: int = 6) -> torch.Tensor:
    """Smooth random pictures with some texture, uint8 [N, 3, 64, 64]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
    noise = 0.1 * torch.randn(number, 3, 64, 64, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).to(torch.uint8)


def blurred(images: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(images.float(), 3, 1, 1).to(torch.uint8)


def test_structure_is_which_places_look_alike() -> None:
    """Turned features keep their similarities; exchanged places do not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 8, 40, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    turned = torch.einsum("dc,nchw->ndhw", turn, x)
    assert structure_distance(x, 3 * turned).max() < 1e-10
    other = structure_distance(x, x.flip(3))
    pooled = [F.adaptive_avg_pool2d(each[:1], (8, 28)).flatten(2) for each in (x, x.flip(3))]
    places = [F.normalize(each - each.mean(2, keepdim=True), dim=1)[0] for each in pooled]
    expected = (places[0].T @ places[0] - places[1].T @ places[1]).square().mean()
    assert other[0] == pytest.approx(float(expected), rel=1e-5) and expected > 0.01


def test_detail_tells_blur_and_checkerboards_and_no_shift() -> None:
    pictures, reals = scenes(6), band_energies(scenes(12)[6:])
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 60
    own, soft, checked, moved = (
        band_energies(images)
        for images in (
            pictures,
            blurred(pictures),
            (pictures.int() + board).clamp(0, 255),
            pictures.roll(8, dims=2),
        )
    )
    assert detail_distance(own, reals) < 0.3
    assert detail_distance(moved, reals) == pytest.approx(detail_distance(own, reals), abs=0.2)
    assert detail_distance(soft, reals) > 0.7 and detail_distance(checked, reals) > 0.5
    # The unit is octaves: noise of twice the height has four times the energy.
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1)) * 20
    assert detail_distance(band_energies(noise * 2), band_energies(noise)) == pytest.approx(
        2, abs=0.05
    )
