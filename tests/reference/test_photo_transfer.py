"""Whitening and colouring, label maps and size rules: the published numbers."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from style.labels import LabelMap, valid_classes
from style.photo.labels import Regions, match_classes, merge_small, resize_nearest
from style.photo.stylizer import limited
from style.photo.wct import PHOTO_WCT, THRESHOLD, transfer
from tests.reference.cases import Case, agree, close, each
from tests.reference.photo import photo_input, results, singular_values, spectrum_agrees
from tests.reference.training import every_dtype, numbers_agree, summary

Labels = np.ndarray


def limits(case: Case, dtype: torch.dtype) -> dict[str, float]:
    return case.data["tolerance"]["float64" if dtype is torch.float64 else "float32"]


@each("wct")
@every_dtype
def test_whitening_and_colouring(case: Case, dtype: torch.dtype) -> None:
    assert case.hyper["threshold"] == THRESHOLD
    moved, values = {}, {}
    for pair in case.hyper["pairs"]:
        name = pair["name"]
        content, style = (photo_input(case, pair[side]).to(dtype) for side in ("content", "style"))
        moved[name] = transfer(content, style)
        expected = case.data["reference_values"]["singular_values"][name]
        for side, features in (("content", content), ("style", style)):
            found = singular_values(features, PHOTO_WCT, identity=side == "content")
            values[f"{name}_{side}_singular_values"] = found
            spectrum_agrees(found, expected[side])
        if dtype == torch.float64:
            numbers_agree(summary(moved[name]), expected["stats"], rel=1e-9, abs=1e-9)
    golden = case.arrays
    spectra = {name: golden.pop(name) for name in values.keys() & golden.keys()}
    agree(values, spectra, rtol=1e-5, atol=1e-7)
    agree(moved, golden, **limits(case, dtype))


def labels_agree(case: Case, golden: dict[str, torch.Tensor], of: tuple[Labels, Labels]) -> None:
    """Which classes count, on the maps as they are."""
    valid = valid_classes(*of)
    assert list(valid) == golden["label_set"].tolist()
    indicator = golden["label_indicator"].tolist()
    assert all(bool(indicator[label]) == flag for label, flag in valid.items())


@each("wct_masks")
@every_dtype
def test_transfer_by_classes(case: Case, dtype: torch.dtype) -> None:
    golden, values = results(case), case.data["reference_values"]
    labels = {side: photo_input(case, f"{side}_labels") for side in ("content", "style")}
    features = {side: photo_input(case, f"{side}_feature").to(dtype) for side in labels}
    labels_agree(case, golden, (labels["content"], labels["style"]))
    counts = values["label_pixel_counts"]
    for side, of in labels.items():
        small = resize_nearest(torch.from_numpy(of), features[side].shape[2:])
        assert torch.equal(small, golden[f"{side}_labels_at_feature_size"].long())
        for name, found in (("", of), ("_at_feature_size", small.numpy())):
            expected = counts.get(f"{side}_labels{name}", {})
            assert {n: int((found == int(n)).sum()) for n in expected} == expected
    regions = Regions.of(LabelMap(labels["content"]), LabelMap(labels["style"]))
    content, style = features["content"], features["style"]
    masks = regions.masks(content.shape[2:], style.shape[2:], content.device)
    assert len(masks) == values["regions_transformed"]
    assert case.hyper["threshold"] == THRESHOLD
    result = transfer(content, style, regions)
    close(result, golden["transformed"], **limits(case, dtype))
    if dtype == torch.float64:
        numbers_agree(summary(result), values["stats"], rel=1e-9, abs=1e-9)


@each("label_rules")
def test_label_rules(case: Case) -> None:
    golden, hyper = results(case), case.hyper
    content, style = (photo_input(case, f"{side}_labels") for side in ("content", "style"))
    labels_agree(case, golden, (content, style))
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
