"""The comparison of objectives: what its tables and panels are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.procedural.coverage import (
    PANEL,
    compare_on_gaussians,
    faces_panel,
    faces_scores,
    gaussians_panel,
    markdown,
    true_faces,
    write_report,
)
from core.procedural.coverage_toy import OBJECTIVES, gaussian_modes, train_toy


def test_dots_lie_within_their_rings() -> None:
    empty = gaussians_panel(torch.full((1, 2), 1.9))
    full = gaussians_panel(gaussian_modes())
    changed = (full.int() - empty.int()).abs().sum(dim=0) > 0
    assert full.shape == (3, PANEL, PANEL)
    blue = (full[2].int() - full[0].int()) > 80
    assert 25 * 4 <= int(blue.sum()) <= 25 * 12
    assert bool(changed[PANEL // 2, PANEL // 2]), "the middle mode is in the middle"


def test_a_panel_of_faces_is_filled_row_by_row() -> None:
    images = torch.arange(64.0)[:, None, None, None].expand(-1, 3, 32, 32)
    panel = faces_panel(images)
    assert panel.shape == (3, PANEL, PANEL)
    assert panel[0, ::32, ::32].flatten().tolist() == list(range(64))
    assert panel[1, 40, 70] == 10


def test_scores_of_true_faces() -> None:
    truth = true_faces(400, 32, 0)
    same = faces_scores(truth, truth)
    assert same["hair covered"] == "12/12"
    assert same["eyes covered"] == "10/10"
    assert same["hair TV"] == same["eyes TV"] == 0
    assert 0.15 < same["mask"] < 0.35
    assert 0.25 < same["glasses"] < 0.45
    bald = [replace(face, hair="black") for face in truth]
    assert faces_scores(bald, truth)["hair covered"] == "1/12"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_objective_trains_the_toy(name: str) -> None:
    result = train_toy(OBJECTIVES[name], updates=3, batch_size=32, width=8)
    assert result.samples.shape == (10_000, 2)
    assert result.num_batches == (15 if name.startswith("wgan") else 3)
    again = train_toy(OBJECTIVES[name], updates=3, batch_size=32, width=8)
    assert torch.equal(result.samples, again.samples)
    untrained = train_toy(OBJECTIVES[name], updates=0, batch_size=32, width=8)
    assert not torch.equal(result.samples, untrained.samples)


def test_report(tmp_path: Path) -> None:
    findings = compare_on_gaussians(1, seed=0)
    assert findings.rows.keys() == findings.panels.keys() == OBJECTIVES.keys()
    text = write_report({"25 Gaussians": findings}, tmp_path)
    assert text.startswith("## 25 Gaussians\n\n| | modes covered |")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"coverage.md", "coverage.json", "coverage.png"}


def test_markdown() -> None:
    assert markdown({"a": {"x": 1, "y": "2/3"}, "b": {"x": "", "y": 4}}) == (
        "| | x | y |\n| --- | --- | --- |\n| a | 1 | 2/3 |\n| b |  | 4 |"
    )
