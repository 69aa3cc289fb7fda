"""Label maps by numbers that can be told by hand."""

from __future__ import annotations

import pytest
import torch

from core.evaluation.metrics.segmentation import Confusion, nearest_colour

COLOURS = torch.tensor([[0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=torch.uint8)


def test_colours_near_one_of_the_palette_are_its_class() -> None:
    pixels = torch.tensor([[10, 0, 5], [200, 40, 0], [30, 0, 190]], dtype=torch.uint8)
    found = nearest_colour(COLOURS)(pixels.T.reshape(1, 3, 1, 3))
    assert found.tolist() == [[[0, 1, 2]]]


def test_scores_by_hand() -> None:
    confusion = Confusion(3)
    # Class 0: 3 of 4 right; class 1: 1 of 2; class 2 does not occur; 9 is no class.
    truth = torch.tensor([[0, 0, 0, 0, 1, 1, 9, -1]])
    found = torch.tensor([[0, 0, 0, 1, 1, 7, 0, 0]])
    confusion.add(found, truth)
    scores = confusion.scores()
    assert scores.pixel_accuracy == pytest.approx(4 / 6)
    assert scores.class_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert scores.mean_iou == pytest.approx((3 / 4 + 1 / 3) / 2)


def test_maps_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        Confusion(2).add(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3))
