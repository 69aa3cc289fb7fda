"""Features of real sets: kept, found again, and never mistaken for those of another set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.evaluation.metrics.fid import Gaussian, frechet_distance
from core.evaluation.networks import Features
from core.evaluation.statistics import (
    SetFeatures,
    StatisticsCache,
    read_statistics,
    write_statistics,
)


def features(seed: int, number: int = 20) -> Features:
    return Features(torch.randn(number, 6, generator=torch.Generator().manual_seed(seed)))


def test_files_are_those_of_other_programs(tmp_path: Path) -> None:
    x, y = features(0), features(1)
    write_statistics(tmp_path / "x.npz", SetFeatures.of(x, {"features": "test"}))
    with np.load(tmp_path / "x.npz") as file:
        np.testing.assert_allclose(file["mu"], x.values.mean(dim=0), atol=1e-6)
        np.testing.assert_allclose(file["sigma"], x.values.double().T.cov(), atol=1e-6)
    found = read_statistics(tmp_path / "x.npz")
    assert found.count == 20 and found.protocol == {"features": "test"}
    np.savez(tmp_path / "theirs.npz", mu=y.values.mean(dim=0), sigma=y.values.double().T.cov())
    theirs = read_statistics(tmp_path / "theirs.npz")
    assert theirs.features is None
    expected = frechet_distance(x.values, y.values)
    assert Gaussian.of(x.values).distance(theirs.gaussian) == pytest.approx(expected, rel=1e-6)


def test_fewer_images_than_features(tmp_path: Path) -> None:
    x, y = features(0, 4), features(1, 3)
    write_statistics(tmp_path / "x.npz", SetFeatures.of(x, {}))
    found = read_statistics(tmp_path / "x.npz").gaussian.distance(Gaussian.of(y.values))
    assert found == pytest.approx(frechet_distance(x.values, y.values), rel=1e-5)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut"])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz"):
        read_statistics(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", mu=np.zeros(3), sigma=np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"mu \[D\] and sigma"):
        read_statistics(tmp_path / "y.npz")


def test_the_cache_knows_a_set_by_its_files_and_the_protocol(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for file in files:
        Image.new("RGB", (16, 16)).save(file)
    cache, calls = StatisticsCache(tmp_path / "cache"), []

    def get(protocol: dict[str, str]) -> SetFeatures:
        return cache.get(files, protocol, lambda: calls.append(1) or features(len(calls)))  # type: ignore[func-returns-value]

    first = get({"resize": "tf1"})
    again = get({"resize": "tf1"})
    assert len(calls) == 1 and again.features is not None and first.features is not None
    assert torch.equal(again.features.values, first.features.values)
    get({"resize": "clean"})
    assert len(calls) == 2
    Image.new("RGB", (16, 17)).save(files[0])
    get({"resize": "tf1"})
    assert len(calls) == 3
    (damaged,) = [p for p in (tmp_path / "cache").iterdir() if p.stat().st_size][:1]
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(damaged.read_bytes()[:100])
    get({"resize": "clean"})
    assert len(calls) == 4
    StatisticsCache(None).get(files, {}, lambda: features(0))
