"""Mode coverage on samples whose coverage is known."""

from __future__ import annotations

import math

import pytest
import torch

from core.procedural.coverage_toy import STD, draw_gaussians, gaussian_modes
from core.procedural.mode_coverage import gaussian_coverage, label_coverage

MODES = gaussian_modes()


def test_the_grid_has_about_unit_variance_and_its_modes_apart() -> None:
    points = draw_gaussians(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(points.std(dim=0), torch.ones(2), atol=0.03, rtol=0)
    gaps = torch.cdist(MODES, MODES) + torch.eye(25) * 9
    assert float(gaps.min()) > 20 * STD


def test_true_samples_cover_everything() -> None:
    num = 10_000
    points = draw_gaussians(num, torch.Generator().manual_seed(1))
    seen = gaussian_coverage(points, MODES, STD)
    assert (seen.num_modes, seen.covered) == (25, 25)
    assert seen.high_quality == pytest.approx(0.989, abs=0.004)  # 1 - exp(-9 / 2)
    # What pure chance leaves, by the normal approximation of each count.
    floor = math.sqrt(25 * (1 - 1 / 25) / (2 * math.pi * num))
    assert seen.total_variation == pytest.approx(floor, rel=0.4)


def test_dropped_modes_are_missed() -> None:
    seen = gaussian_coverage(MODES[:5].repeat(40, 1), MODES, STD)
    assert (seen.covered, seen.high_quality) == (5, 1.0)
    assert seen.total_variation == pytest.approx(0.8)


def test_points_between_modes_are_of_no_quality_and_cover_nothing() -> None:
    between = MODES + (MODES[1] - MODES[0]) / 2
    seen = gaussian_coverage(between.repeat(40, 1), MODES, STD)
    assert (seen.covered, seen.high_quality, seen.total_variation) == (0, 0.0, 1.0)


def test_a_few_stray_points_do_not_cover_a_mode() -> None:
    samples = torch.cat([MODES[:1].repeat(1000, 1), MODES[1:2].repeat(3, 1)])
    assert gaussian_coverage(samples, MODES, STD).covered == 1
    samples = torch.cat([MODES[:1].repeat(1000, 1), MODES[1:2].repeat(5, 1)])
    assert gaussian_coverage(samples, MODES, STD).covered == 2


def test_labels() -> None:
    data = ["red"] * 50 + ["blue"] * 30 + ["green"] * 20
    seen = label_coverage(["red"] * 8 + ["blue"] * 2, data)
    assert (seen.num_modes, seen.covered, seen.high_quality) == (3, 2, 1.0)
    assert seen.total_variation == pytest.approx(0.3)
    strange = label_coverage(["red"] * 5 + ["gold"] * 5, data)
    assert (strange.covered, strange.high_quality) == (1, 0.5)
    assert label_coverage(data, data).total_variation == 0
    with pytest.raises(ValueError, match="needs both"):
        label_coverage([], data)
