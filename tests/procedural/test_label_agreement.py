from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from core.procedural.known_truth import label_agreement, rgb_to_lab


def test_lab_equals_skimage() -> None:
    images = torch.rand(2, 3, 9, 7, dtype=torch.float64) ** 3
    theirs = rgb2lab(images.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(rgb_to_lab(images).permute(0, 2, 3, 1), theirs, atol=1e-3)


def two_halves() -> tuple[torch.Tensor, torch.Tensor]:
    """Red above, green below; class 3 above, class 7 below."""
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :4] = 1
    image[:, 1, 4:] = 1
    labels = torch.full((1, 8, 8), 3, dtype=torch.uint8)
    labels[:, 4:] = 7
    return image, labels


def test_perfect_half_and_swapped() -> None:
    truth, labels = two_halves()
    assert label_agreement(truth, truth, labels).image.item() == 1
    all_red = torch.zeros_like(truth)
    all_red[:, 0] = 1
    assert label_agreement(all_red, truth, labels).image.item() == 0.5
    assert label_agreement(truth.flip(2), truth, labels).image.item() == 0


def test_ceiling_counts_what_even_the_truth_misses() -> None:
    truth, labels = two_halves()
    truth[0, :, 0, 0] = torch.tensor([0.0, 1.0, 0.0])  # a green pixel in the red half
    result = label_agreement(truth, truth, labels)
    assert result.ceiling.item() == pytest.approx(63 / 64)
    assert result.image.item() == pytest.approx(63 / 64)


def test_shapes_are_checked() -> None:
    truth, labels = two_halves()
    with pytest.raises(ValueError, match="label_agreement"):
        label_agreement(truth, truth, labels[:, :4])
