"""Label maps of every kind that people have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from core.errors import UserError
from style.photo.labels import (
    Regions,
    match_classes,
    merge_small,
    read_labels,
    resize_nearest,
    valid_classes,
)

RED, BLUE, BLACK, WHITE, GRAY = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255), (128,) * 3


def halves(left: tuple[int, ...], right: tuple[int, ...], size: int = 64) -> Image.Image:
    image = Image.new("RGB", (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


def test_ids_of_gray_and_palette_maps_are_kept() -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(read_labels(Image.fromarray(ids)), ids)
    palette = Image.fromarray(ids).convert("P")
    palette.putdata(list(ids.flatten()))
    palette.putpalette([7, 8, 9] * 256)
    assert np.array_equal(read_labels(palette), ids)
    assert np.array_equal(read_labels(Image.fromarray(ids).convert("RGB")), ids)


def test_colours_are_classes_with_and_without_alpha() -> None:
    labels = read_labels(halves(RED, BLUE))
    assert len(np.unique(labels)) == 2
    assert np.array_equal(read_labels(halves(RED, BLUE).convert("RGBA")), labels)
    assert labels.min() > 255, "no colour is taken for an id"


def test_any_few_colours_are_taken_as_they_are() -> None:
    assert len(np.unique(read_labels(halves((200, 10, 10), (90, 90, 180))))) == 2


def test_soft_edges_go_to_the_nearest_pure_colour() -> None:
    hard = read_labels(halves(RED, BLUE, 256))
    noisy = halves(RED, BLUE, 256).filter(ImageFilter.GaussianBlur(40))
    soft = read_labels(noisy)
    assert set(np.unique(hard)) <= set(np.unique(soft))
    assert (soft == hard).mean() > 0.6


def test_gray_is_a_class_only_where_there_is_enough() -> None:
    """Between black and white there is a thin line of gray, which is no class."""
    drawn = halves(BLACK, WHITE, 512)
    drawn.paste(BLUE, (20, 300, 120, 500))
    drawn.paste(RED, (400, 300, 500, 500))
    hard = set(np.unique(read_labels(drawn)))
    assert len(hard) == 4
    soft = drawn.filter(ImageFilter.GaussianBlur(4))
    assert set(np.unique(read_labels(soft))) == hard
    drawn.paste(GRAY, (0, 0, 512, 100))
    assert set(np.unique(read_labels(drawn.filter(ImageFilter.GaussianBlur(4))))) == hard | {128}


def test_valid_classes_at_the_bounds() -> None:
    content, style = np.zeros((40, 40), np.int64), np.zeros((40, 40), np.int64)
    content[0, :11], style[0, :11] = 1, 1
    content[1, :10], style[1, :40] = 2, 2
    content[2, :11] = 3
    assert valid_classes(content, style) == {0: True, 1: True, 2: False, 3: False}
    content, style = np.zeros((60, 60), np.int64), np.zeros((60, 60), np.int64)
    content[:30, :37], content[0, :10] = 4, 0
    style.flat[:11] = 4
    assert int((content == 4).sum()) == 1100
    assert not valid_classes(content, style)[4], "exactly a hundred times"
    content[0, 10] = 0
    assert valid_classes(content, style)[4]


def test_no_common_class_is_one_clear_error() -> None:
    with pytest.raises(UserError, match="no class has more than 10 pixels in both") as caught:
        Regions.of(np.full((20, 20), 3), read_labels(halves(RED, RED)))
    assert "#ff0000" in str(caught.value)


def test_classes_that_vanish_in_small_are_left_out() -> None:
    content, style = np.zeros((64, 64), np.int64), np.zeros((64, 64), np.int64)
    content[:4, :4], style[:8] = 1, 1
    regions = Regions.of(content, style)
    assert regions.classes == (0, 1)
    device = torch.device("cpu")
    assert len(regions.masks((64, 64), (64, 64), device)) == 2
    assert len(regions.masks((4, 4), (8, 8), device)) == 1


def test_nearest_resize_enlarges_too() -> None:
    labels = torch.tensor([[1, 2], [3, 4]])
    assert resize_nearest(labels, (4, 2)).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_relations() -> None:
    relations = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    labels = np.array([[0] * 99 + [1]])
    assert np.array_equal(merge_small(labels, relations), np.zeros((1, 100)))
    assert np.array_equal(merge_small(labels, relations, 0.01), labels)
    content, style = match_classes(np.array([[0, 1]]), np.array([[2, 2]]), relations)
    assert content.tolist() == [[2, 2]]
    assert style.tolist() == [[2, 2]]
