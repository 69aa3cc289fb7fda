"""Matting, guided filter and affine smoothing: the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from style.photo.affine import affine_smoothing, apply_models, local_models, smoothed_models
from style.photo.cascade import WaveletCascade
from style.photo.config import Affine, Guided, Matting, PhotoConfig
from style.photo.guided import guided_filter
from style.photo.matting import affinity, extended, propagate
from style.photo.stylizer import PhotoStylizer, to_image
from tests.reference.cases import Case, close, each, fill_rule
from tests.reference.photo import (
    photo_input,
    picture,
    pixels,
    planes,
    same_bytes,
    stored_inputs_agree,
    sums_agree,
)

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def stylizer(**options: object) -> PhotoStylizer:
    config = PhotoConfig.model_validate({"encoder": "wavelet", **options})
    return PhotoStylizer(config, WaveletCascade(), torch.device("cpu"))


def prepared(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Both images as the system sees them: cut or scaled down, and extended again."""
    stylised, content = (photo_input(case, name) for name in ("stylised", "content"))
    height, width = stylised.shape[0] - 4, stylised.shape[1] - 4
    guide = picture(content).resize((width, height), Image.Resampling.BILINEAR)
    return extended(planes(stylised)[:, 2:-2, 2:-2]), extended(planes(guide))


@each("matting_smoothing")
def test_matting_affinity(case: Case) -> None:
    stored_inputs_agree(case)
    hyper, golden = case.hyper, case.arrays
    _, guide = prepared(case)
    options = {"radius": hyper["window_radius"], "epsilon": hyper["epsilon"]}
    weights, degree = affinity(guide, **options)
    close(weights.diagonal, golden["affinity_diagonal"])
    close(degree, golden["affinity_column_sums"])
    probe = fill_rule().noise("probe", [degree.numel()], case.data["seed"])
    product = weights(torch.from_numpy(probe).double().view(degree.shape))
    close(product, golden["affinity_times_probe"], **case.data["tolerance"]["affinity_times_probe"])
    stats = case.data["reference_values"]["stats"]
    squares = weights.diagonal.square().sum() + 2 * sum(
        plane.square().sum() for plane, _, _ in weights.pairs
    )
    assert float(squares.sqrt()) == pytest.approx(stats["affinity_frobenius"], rel=1e-9)
    values = [weights.diagonal, *(plane for plane, _, _ in weights.pairs)]
    assert min(float(v.min()) for v in values) == pytest.approx(stats["smallest_entry"], rel=1e-6)
    assert max(float(v.max()) for v in values) == pytest.approx(stats["largest_entry"], rel=1e-6)


@each("matting_smoothing")
def test_matting_solution(case: Case) -> None:
    hyper, golden = case.hyper, case.arrays
    stylised, guide = prepared(case)
    options = {"radius": hyper["window_radius"], "epsilon": hyper["epsilon"]}
    for beta in hyper["betas"]:
        exact = propagate(stylised, guide, beta=beta, tolerance=1e-10, **options)[:, 2:-2, 2:-2]
        close(pixels(exact), golden[f"result_beta_{beta}"], **case.data["tolerance"]["result"])
        same_bytes(to_image(exact), golden[f"result_uint8_beta_{beta}"], pixels(exact) * 255)
        # What a user gets: float32 and the default tolerance, 1e-3 mean absolute at most.
        quick = propagate(stylised.float(), guide, beta=beta, **options)[:, 2:-2, 2:-2]
        error = (pixels(quick).double() - golden[f"result_beta_{beta}"].double()).abs()
        assert error.mean() < 1e-3
        whole = stylizer(
            matting=Matting(
                beta=beta, epsilon=hyper["epsilon"], radius=hyper["window_radius"], tolerance=1e-5
            )
        ).matting(*(picture(photo_input(case, name)) for name in ("stylised", "content")))
        same_bytes(whole, golden[f"result_uint8_beta_{beta}"], pixels(exact) * 255, near=0.05)


@each("guided_filter")
@PRECISIONS
def test_guided_filter(case: Case, dtype: torch.dtype) -> None:
    stored_inputs_agree(case)
    golden = case.arrays
    stylised, content = (photo_input(case, name) for name in ("stylised", "content"))
    for variant in case.hyper["variants"]:
        a, b = planes(stylised, 1).to(dtype), planes(content, 1).to(dtype)
        result = guided_filter(a, b, radius=variant["r"], eps=variant["eps"])
        name = variant["name"]
        close(pixels(result), golden[f"{name}_float"], **case.data["tolerance"]["float"])
        sums_agree(case, f"{name}_float", pixels(result), rtol=1e-7)
        options = Guided(radius=variant["r"], eps=variant["eps"])
        whole = stylizer(smoothing="guided", guided=options).guided(
            picture(stylised), picture(content)
        )
        levels = np.asarray(whole).astype(int) - golden[f"{name}_uint8"].numpy().astype(int)
        assert np.abs(levels).max() <= 1
        assert (levels != 0).mean() < 1e-3


@each("affine_smoothing")
@PRECISIONS
def test_affine_smoothing(case: Case, dtype: torch.dtype) -> None:
    stored_inputs_agree(case)
    golden, tolerance = case.arrays, case.data["tolerance"]
    stylised = photo_input(case, "stylised")
    for variant in case.hyper["variants"]:
        name, content = variant["name"], photo_input(case, variant["guide"])
        scaled = picture(content).resize(stylised.shape[1::-1], Image.Resampling.NEAREST)
        resized = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)
        if f"{name}_guide_resized" in golden:
            assert torch.equal(pixels(resized), golden[f"{name}_guide_resized"])
        a, guide = planes(stylised).to(dtype), (resized.double() / 255).to(dtype)
        options = {"radius": variant["f_radius"], "edge": variant["f_edge"]}
        models = local_models(a, guide, patch=case.hyper["patch"])
        smoothed = smoothed_models(models, guide, **options)
        for stage, found in (("local_affine", models), ("smoothed_affine", smoothed)):
            if f"{name}_{stage}" in golden:
                wanted = golden[f"{name}_{stage}"]
                close(found.permute(2, 3, 0, 1), wanted, **tolerance["local_affine"])
        result = apply_models(smoothed, guide)
        close(pixels(result), golden[f"{name}_float"], **tolerance["float"])
        if dtype is torch.float64:
            torch.testing.assert_close(result, affine_smoothing(a, guide, **options))
            sums_agree(case, f"{name}_float", pixels(result))
        whole = stylizer(affine=Affine(radius=variant["f_radius"], edge=variant["f_edge"])).affine(
            picture(stylised), picture(content)
        )
        same_bytes(whole, golden[f"{name}_uint8"], pixels(result).double() * 255)
