"""Precision, recall, density and coverage, against prdc and by hand."""

from __future__ import annotations

import pytest
import torch

from core.evaluation.metrics import prdc
from core.evaluation.metrics.prdc import manifolds


@pytest.mark.parametrize("k", [1, 3])
def test_equals_prdc(k: int, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = pytest.importorskip("prdc", reason="pip install prdc")
    generator = torch.Generator().manual_seed(0)
    reals, fakes = torch.randn(40, 5, generator=generator), torch.randn(30, 5, generator=generator)
    expected = theirs.compute_prdc(reals.numpy(), fakes.numpy() * 0.7, k)
    assert vars(manifolds(fakes * 0.7, reals, k)) == pytest.approx(expected)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 25, 4, generator=generator)
    whole = manifolds(x, y)
    monkeypatch.setattr(prdc, "_ROWS", 4)
    assert manifolds(x, y) == whole


def test_a_collapsed_set_is_precise_and_covers_little() -> None:
    reals = torch.arange(10.0)[:, None]
    fakes = reals[4].expand(10, 1) + 0.01 * torch.arange(10.0)[:, None]
    found = manifolds(fakes, reals, k=1)
    assert found.precision == 1 and found.recall == pytest.approx(0.1)
    assert found.coverage <= 0.3


def test_sets_without_a_neighbour_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 3"):
        manifolds(torch.zeros(3, 2), torch.zeros(9, 2))
