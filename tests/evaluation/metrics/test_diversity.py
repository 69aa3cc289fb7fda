"""Distances between translations of one image in several styles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.nn.random_features import random_features


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_pixel_distance_is_the_mean_over_pairs_and_images() -> None:
    levels = torch.tensor([[0.0, 0.5], [0.2, 0.5], [-0.4, 0.5]])  # three styles of two images
    outputs = levels[:, :, None, None, None].expand(-1, -1, 3, 8, 8)
    # The first image differs by 0.2, 0.4 and 0.6, the second never.
    assert float(pixel_distance(outputs)) == pytest.approx(0.2)


def test_equal_outputs_have_no_distance() -> None:
    outputs = noise(1, 2, 3, 16, 16).expand(4, -1, -1, -1, -1)
    assert float(pixel_distance(outputs)) == 0
    assert float(feature_distance(outputs)) == 0


@given(seed=st.integers(0, 1000), brightness=st.floats(-0.3, 0.3))
@settings(deadline=None, max_examples=20)
def test_features_see_structure_before_brightness(seed: int, brightness: float) -> None:
    image = 0.5 * noise(1, 3, 16, 16, seed=seed)
    brighter = torch.stack([image, image + brightness])
    other = torch.stack([image, 0.5 * noise(1, 3, 16, 16, seed=seed + 1)])
    assert float(feature_distance(brighter)) < 1e-4 < float(feature_distance(other))


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_unit_vectors_at_three_levels_and_repeat(channels: int) -> None:
    levels = random_features(noise(2, channels, 12, 20))
    assert [tuple(level.shape) for level in levels] == [
        (2, 32, 12, 20),
        (2, 64, 6, 10),
        (2, 128, 3, 5),
    ]
    for level, again in zip(levels, random_features(noise(2, channels, 12, 20)), strict=True):
        torch.testing.assert_close(level.norm(dim=1), torch.ones_like(level[:, 0]))
        assert torch.equal(level, again)


def test_a_flat_image_has_no_features_and_no_nan() -> None:
    for level in random_features(torch.ones(1, 3, 8, 8)):
        torch.testing.assert_close(level, torch.zeros_like(level), rtol=0, atol=1e-2)
