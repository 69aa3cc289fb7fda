"""Matting, guided filter and affine smoothing: the published numbers."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from core.nn.padding import replication_pad
from style.photo.affine import affine_smoothing, apply_models, local_models, smoothed_models
from style.photo.cascade import WaveletCascade
from style.photo.config import Affine, Guided, Matting, PhotoConfig
from style.photo.guided import guided_filter
from style.photo.matting import affinity, propagate
from style.photo.stylizer import PhotoStylizer, to_image
from tests.reference.cases import Case, agree, close, each
from tests.reference.photo import (
    near_bytes,
    photo_input,
    picture,
    pixels,
    planes,
    results,
    same_bytes,
    stats_agree,
)
from tests.reference.training import every_dtype


def stylizer(**options: object) -> PhotoStylizer:
    config = PhotoConfig.model_validate({"encoder": "wavelet", **options})
    return PhotoStylizer(config, WaveletCascade(), torch.device("cpu"))


def extended(image: torch.Tensor) -> torch.Tensor:
    return replication_pad(image[None], 2)[0]


def prepared(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Both images as the system sees them: cut or scaled down, and extended again."""
    stylised, content = (photo_input(case, name) for name in ("stylised", "content"))
    height, width = stylised.shape[0] - 4, stylised.shape[1] - 4
    guide = picture(content).resize((width, height), Image.Resampling.BILINEAR)
    return extended(planes(stylised)[:, 2:-2, 2:-2]), extended(planes(guide))


@each("matting_smoothing")
def test_matting_affinity(case: Case) -> None:
    hyper, golden = case.hyper, results(case)
    _, guide = prepared(case)
    weights, degree = affinity(guide, radius=hyper["window_radius"], epsilon=hyper["epsilon"])
    close(weights.diagonal, golden["affinity_diagonal"])
    close(degree, golden["affinity_column_sums"])
    probe = case.rule.noise("probe", [degree.numel()], case.data["seed"])
    product = weights(torch.from_numpy(probe).double().view(degree.shape))
    close(product, golden["affinity_times_probe"], **case.data["tolerance"]["affinity_times_probe"])
    off_diagonal = [plane for plane, _, _ in weights.pairs]
    squares = weights.diagonal.square().sum() + 2 * sum(p.square().sum() for p in off_diagonal)
    entries = [weights.diagonal, *off_diagonal]
    stats_agree(case, {"affinity_frobenius": float(squares.sqrt())})
    extremes = {
        "smallest_entry": min(float(v.min()) for v in entries),
        "largest_entry": max(float(v.max()) for v in entries),
    }
    stats_agree(case, extremes, rel=1e-6)


@each("matting_smoothing")
def test_matting_solution(case: Case) -> None:
    hyper, golden = case.hyper, case.arrays
    stylised, guide = prepared(case)
    options = {"radius": hyper["window_radius"], "epsilon": hyper["epsilon"]}
    stats_agree(case, {"result_size_hw": [side - 4 for side in stylised.shape[1:]]})
    for beta in hyper["betas"]:
        exact = propagate(stylised, guide, Matting(beta=beta, tolerance=1e-10, **options))
        exact = exact[:, 2:-2, 2:-2]
        close(pixels(exact), golden[f"result_beta_{beta}"], **case.data["tolerance"]["result"])
        same_bytes(to_image(exact), golden[f"result_uint8_beta_{beta}"], pixels(exact) * 255)
        # What a user gets: float32 and the default tolerance, 1e-3 mean absolute at most.
        quick = propagate(stylised.float(), guide, Matting(beta=beta, **options))
        quick = quick[:, 2:-2, 2:-2]
        error = (pixels(quick).double() - golden[f"result_beta_{beta}"].double()).abs()
        assert error.mean() < 1e-3
        whole = stylizer(matting=Matting(beta=beta, tolerance=1e-5, **options)).matting(
            *(picture(photo_input(case, name)) for name in ("stylised", "content"))
        )
        same_bytes(whole, golden[f"result_uint8_beta_{beta}"], pixels(exact) * 255, near=0.05)


@each("guided_filter")
@every_dtype
def test_guided_filter(case: Case, dtype: torch.dtype) -> None:
    golden, floats = results(case), {}
    stylised, content = (photo_input(case, name) for name in ("stylised", "content"))
    for variant in case.hyper["variants"]:
        name, radius, eps = (variant[key] for key in ("name", "r", "eps"))
        a, b = planes(stylised, 1).to(dtype), planes(content, 1).to(dtype)
        floats[f"{name}_float"] = pixels(guided_filter(a, b, Guided(radius=radius, eps=eps)))
        whole = stylizer(smoothing="guided", guided=Guided(radius=radius, eps=eps)).guided(
            picture(stylised), picture(content)
        )
        near_bytes(whole, golden.pop(f"{name}_uint8"))
    agree(floats, golden, **case.data["tolerance"]["float"])
    stats_agree(case, floats, rel=1e-7, whole=True)


@each("affine_smoothing")
@every_dtype
def test_affine_smoothing(case: Case, dtype: torch.dtype) -> None:
    golden, tolerance, floats, models = results(case), case.data["tolerance"], {}, {}
    assert case.hyper["patch"] == 3
    stylised = photo_input(case, "stylised")
    for variant in case.hyper["variants"]:
        name, content = variant["name"], photo_input(case, variant["guide"])
        scaled = picture(content).resize(stylised.shape[1::-1], Image.Resampling.NEAREST)
        resized = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)
        expected = golden.pop(f"{name}_guide_resized", None)
        assert expected is None or torch.equal(pixels(resized), expected)
        a, guide = planes(stylised).to(dtype), (resized.double() / 255).to(dtype)
        options = {"radius": variant["f_radius"], "edge": variant["f_edge"]}
        local = local_models(a, guide)
        smoothed = smoothed_models(local, guide, **options)
        models[f"{name}_local_affine"] = local.permute(2, 3, 0, 1)
        models[f"{name}_smoothed_affine"] = smoothed.permute(2, 3, 0, 1)
        result = apply_models(smoothed, guide)
        floats[f"{name}_float"] = pixels(result)
        if dtype == torch.float64:
            torch.testing.assert_close(result, affine_smoothing(a, guide, Affine(**options)))
        whole = stylizer(affine=Affine(**options)).affine(picture(stylised), picture(content))
        same_bytes(whole, golden.pop(f"{name}_uint8"), pixels(result).double() * 255)
    stored = {name: golden.pop(name) for name in models.keys() & golden.keys()}
    agree(models, stored, **tolerance["local_affine"])
    agree(floats, golden, **tolerance["float"])
    if dtype == torch.float64:
        stats_agree(case, floats, whole=True)
