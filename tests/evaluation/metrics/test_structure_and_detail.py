"""What structure and detail see, and what they do not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core.evaluation.metrics.detail import band_energies, detail_distance
from core.evaluation.metrics.structure import structure_distance
from core.family import to_float


def scenes(number: int = 6) -> torch.Tensor:
    """Smooth random pictures with some texture, uint8 [N, 3, 64, 64]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
    noise = 0.1 * torch.randn(number, 3, 64, 64, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).to(torch.uint8)


def blurred(images: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(images.float(), 3, 1, 1).to(torch.uint8)


def test_structure_follows_the_layout() -> None:
    pictures = to_float(scenes())
    same, other = pictures.clone(), pictures.roll(1, dims=0)
    brighter = (pictures * 0.8 + 0.1).clamp(-1, 1)
    assert structure_distance(pictures, same).max() < 1e-10
    assert (
        structure_distance(pictures, brighter) < 0.3 * structure_distance(pictures, other)
    ).all()


def test_detail_tells_blur_and_checkerboards_and_no_shift() -> None:
    reals = [band_energies(image[None]) for image in scenes(12)[6:]]
    own = [band_energies(image[None]) for image in scenes(6)]
    soft = [band_energies(image[None]) for image in blurred(scenes(6))]
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 60
    checked = [
        band_energies((image + board).clamp(0, 255)[None]) for image in scenes(6).to(torch.int64)
    ]
    moved = [band_energies(image.roll(8, dims=1)[None]) for image in scenes(6)]
    assert detail_distance(own, reals) < 0.3
    assert detail_distance(moved, reals) == pytest.approx(detail_distance(own, reals), abs=0.2)
    assert detail_distance(soft, reals) > 0.7 and detail_distance(checked, reals) > 0.5
    # The unit is octaves: noise of twice the height has four times the energy.
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1)) * 20
    assert detail_distance([band_energies(noise * 2)], [band_energies(noise)]) == pytest.approx(
        2, abs=0.05
    )
