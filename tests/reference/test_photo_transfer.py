"""Whitening and colouring, label maps and size rules: the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from style.labels import LabelMap, valid_classes
from style.photo.labels import Regions, match_classes, merge_small, resize_nearest
from style.photo.stylizer import limited
from style.photo.wct import PHOTO_WCT, Statistics, kept, moments, spectrum, transfer
from tests.reference.cases import Case, close, each
from tests.reference.photo import photo_input, stored_inputs_agree

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def statistics(case: Case) -> Statistics:
    return Statistics(
        PHOTO_WCT.style_identity, PHOTO_WCT.unbiased, case.hyper.get("threshold", 1e-5)
    )


def limits(case: Case, dtype: torch.dtype) -> dict[str, float]:
    return case.data["tolerance"]["float64" if dtype is torch.float64 else "float32"]


@each("wct")
@PRECISIONS
def test_whitening_and_colouring(case: Case, dtype: torch.dtype) -> None:
    golden, how = case.arrays, statistics(case)
    for pair in case.hyper["pairs"]:
        name = pair["name"]
        content, style = (photo_input(case, pair[side]).to(dtype) for side in ("content", "style"))
        close(transfer(content, style, how=how), golden[name], **limits(case, dtype))
        expected = case.data["reference_values"]["singular_values"][name]
        for side, features in (("content", content), ("style", style)):
            _, covariance = moments(features[0].flatten(1), how, identity=side == "content")
            values, _ = spectrum(covariance)
            stored = golden[f"{name}_{side}_singular_values"]
            close(values.sort(descending=True).values, stored, rtol=1e-5, atol=1e-7)
            assert int(kept(values, how.threshold).sum()) == expected[side]["kept"]


@each("wct_masks")
@PRECISIONS
def test_transfer_by_classes(case: Case, dtype: torch.dtype) -> None:
    stored_inputs_agree(case)
    golden = case.arrays
    of_content, of_style = (photo_input(case, f"{side}_labels") for side in ("content", "style"))
    content, style = (
        photo_input(case, f"{side}_feature").to(dtype) for side in ("content", "style")
    )
    valid = valid_classes(of_content, of_style)
    assert list(valid) == golden["label_set"].tolist()
    indicator = golden["label_indicator"].tolist()
    assert all(bool(indicator[label]) == flag for label, flag in valid.items())
    regions = Regions.of(LabelMap(of_content), LabelMap(of_style))
    for side, labels, feature in (("content", of_content, content), ("style", of_style, style)):
        small = resize_nearest(torch.from_numpy(labels), feature.shape[2:])
        assert torch.equal(small, golden[f"{side}_labels_at_feature_size"].long())
    masks = regions.masks(content.shape[2:], style.shape[2:], content.device)
    assert len(masks) == case.data["reference_values"]["regions_transformed"]
    result = transfer(content, style, regions, statistics(case))
    close(result, golden["transformed"], **limits(case, dtype))


@each("label_rules")
def test_label_rules(case: Case) -> None:
    stored_inputs_agree(case)
    golden, hyper = case.arrays, case.hyper
    content, style = (photo_input(case, f"{side}_labels") for side in ("content", "style"))
    valid = valid_classes(content, style)
    assert list(valid) == golden["label_set"].tolist()
    indicator = golden["label_indicator"].tolist()
    assert all(bool(indicator[label]) == flag for label, flag in valid.items())
    for width, height in hyper["nearest_sizes_wh"]:
        small = resize_nearest(torch.from_numpy(content), (height, width))
        assert torch.equal(small, golden[f"content_labels_{width}x{height}"].long())
    rule = hyper["remapping"]
    numbers = np.arange(rule["labels"])
    mapping = (numbers[None] + rule["step"] * numbers[:, None]) % rule["labels"]
    assert np.array_equal(mapping, golden["mapping"].numpy())
    a, b = (merge_small(labels, mapping, rule["min_ratio"]) for labels in (content, style))
    assert np.array_equal(a, golden["content_self_remapped"].numpy())
    assert np.array_equal(b, golden["style_self_remapped"].numpy())
    a, b = match_classes(a, b, mapping)
    assert np.array_equal(a, golden["content_cross_remapped"].numpy())
    assert np.array_equal(b, golden["style_cross_remapped"].numpy())


@each("label_rules")
def test_image_size_rule(case: Case) -> None:
    for width, height, *expected in case.data["reference_values"]["image_size_rule"]:
        found = limited(Image.new("RGB", (width, height)), 960).size
        # By a few pixels it depends on the version of Pillow.
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 4
