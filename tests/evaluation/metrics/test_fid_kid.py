"""Fréchet and kernel distance on seeded features, against NumPy and the published packages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.evaluation.metrics.fid import frechet_distance
from core.evaluation.metrics.kid import kernel_distance

REASON = "pip install -e '.[metrics]'"


def two_sets(n: int, m: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of different mean and covariance."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.randn(m, d, generator=generator, dtype=torch.float64) @ mix + 0.3
    return x, y


@pytest.mark.parametrize(("n", "m"), [(200, 150), (30, 40), (7, 90)])
def test_frechet_distance_is_the_formula(n: int, m: int) -> None:
    """More and fewer images than the 24 features, where the covariances are singular."""
    x, y = (features.numpy() for features in two_sets(n, m, 24))
    cx, cy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(cx)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    root = np.sqrt(np.linalg.eigvalsh(half @ cy @ half).clip(0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * root
    ours = frechet_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert ours == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_shifted_and_scaled_sets() -> None:
    x, _ = two_sets(60, 2, 8)
    variance = float(x.var(dim=0).sum())
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 8)
    centred = x - x.mean(dim=0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * variance)


@given(n=st.integers(2, 12), m=st.integers(2, 12), d=st.integers(1, 8), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_frechet_distance_is_symmetric_and_not_negative(n: int, m: int, d: int, seed: int) -> None:
    x, y = two_sets(n, m, d, seed)
    distance = frechet_distance(x, y)
    assert distance >= -1e-9
    assert distance == pytest.approx(frechet_distance(y, x), abs=1e-9)


def test_frechet_distance_equals_torch_fidelity_and_torchmetrics() -> None:
    theirs = pytest.importorskip("torch_fidelity.metric_fid", reason=REASON)
    x, y = two_sets(120, 90, 32)
    one, two = (theirs.fid_features_to_statistics(features) for features in (x, y))
    found = theirs.fid_statistics_to_metric(one, two, False)[theirs.KEY_METRIC_FID]
    assert frechet_distance(x, y) == pytest.approx(found, rel=1e-8)

    metrics = pytest.importorskip("torchmetrics.image.fid", reason=REASON)
    parts = [part for features in (x, y) for part in (features.mean(dim=0), features.T.cov())]
    assert frechet_distance(x, y) == pytest.approx(float(metrics._compute_fid(*parts)), rel=1e-8)


def test_equal_clean_fid_on_the_same_features() -> None:
    """Its FID where the covariances have full rank, for it adds to singular ones; and its KID."""
    theirs = pytest.importorskip("cleanfid.fid", reason=REASON)
    x, y = two_sets(400, 300, 12)
    moments = [
        each for features in (x, y) for each in (features.mean(0).numpy(), features.T.cov().numpy())
    ]
    assert frechet_distance(x, y) == pytest.approx(theirs.frechet_distance(*moments), rel=1e-6)
    np.random.seed(0)
    found = theirs.kernel_distance(x.numpy(), y.numpy(), num_subsets=400, max_subset_size=100)
    ours = kernel_distance(x, y, subset_size=100)
    assert ours.mean == pytest.approx(found, abs=4 * ours.std / 10)


@pytest.mark.parametrize("seed", [0, 2020])
def test_kernel_distance_equals_torch_fidelity_with_the_same_subsets(seed: int) -> None:
    theirs = pytest.importorskip("torch_fidelity.metric_kid", reason=REASON)
    x, y = two_sets(50, 40, 16)
    found = theirs.kid_features_to_metric(
        x, y, kid_subsets=100, kid_subset_size=20, rng_seed=seed, verbose=False
    )
    ours = kernel_distance(x, y, subset_size=20, seed=seed)
    assert ours.mean == pytest.approx(found[theirs.KEY_METRIC_KID_MEAN], rel=1e-10)
    assert ours.std == pytest.approx(found[theirs.KEY_METRIC_KID_STD], rel=1e-10)


def test_kernel_distance_equals_torchmetrics_on_the_whole_sets() -> None:
    theirs = pytest.importorskip("torchmetrics.image.kid", reason=REASON)
    x, y = two_sets(30, 30, 16)
    ours = kernel_distance(x, y, subset_size=30)
    assert ours.mean == pytest.approx(float(theirs.poly_mmd(x, y)), rel=1e-10)
    assert ours.std == pytest.approx(0, abs=1e-12)


def test_kernel_distance_has_no_bias() -> None:
    """Of equal distributions it is about 0 for any subset size, of others it is not."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3000, 4, generator=generator)
    for size in (3, 30):
        found = kernel_distance(x, y, size)
        assert abs(found.mean) < 3 * found.std / 10  # 100 subsets
    assert kernel_distance(x, y + 1, 30).mean > 1


def test_shapes_and_subset_sizes_are_checked() -> None:
    x, y = two_sets(5, 4, 3)
    with pytest.raises(ValueError, match="N >= 2"):
        frechet_distance(x, y[:1])
    with pytest.raises(ValueError, match=r"\[M, D\]"):
        kernel_distance(x, y[:, :2], 2)
    for size in (1, 5):
        with pytest.raises(ValueError, match="from 2 to 4"):
            kernel_distance(x, y, size)
