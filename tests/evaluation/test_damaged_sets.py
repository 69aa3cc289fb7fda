"""Each way of being wrong is seen by some measures and missed by others (docs/metrics.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.damaged import DAMAGES, measured, write_sets

TOLD = {
    "collapsed": {"recall_student", "coverage_student", "fid_student", "psnr", "edge_correlation"},
    "copied": {"psnr", "ssim", "student_distance", "edge_correlation", "color_inversion"},
    "inverted": {"fid_student", "precision_student", "psnr", "student_distance"},
    "blurred": {"detail_distance", "fid_student", "precision_student", "student_distance"},
    "shifted": {"psnr", "ssim", "student_distance", "edge_correlation", "color_inversion"},
}
"""By these, at less than half as good or twice as bad as the honest set (PSNR: at four fifths)."""
MISSED = {
    "collapsed": {"detail_distance"},
    "copied": {"fid_student", "precision_student", "recall_student", "coverage_student"},
    "inverted": {"detail_distance", "edge_correlation"},
    "blurred": {"psnr", "edge_correlation", "color_inversion"},
    "shifted": {"precision_student", "recall_student", "coverage_student", "detail_distance"},
}
"""By these, at no more than a third off, or better."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damaged")
    write_sets(root, 40, 32)
    return root


def test_every_damage_is_told_by_the_measures_that_see_it(sets: Path) -> None:
    found = {name: measured(sets, name) for name in DAMAGES}
    for name, metrics in TOLD.items():
        for metric in metrics:
            honest, damaged = found["honest"][metric], found[name][metric]
            if honest.better == "higher":
                worse = damaged.value < (0.8 if metric == "psnr" else 0.5) * honest.value
            else:
                worse = damaged.value > 2 * honest.value
            assert worse, f"{name}: {metric} {honest.value} -> {damaged.value}"
    for name, metrics in MISSED.items():
        for metric in metrics:
            honest, damaged = found["honest"][metric], found[name][metric]
            if honest.better == "higher":
                fine = damaged.value > 0.67 * honest.value
            else:
                fine = damaged.value < 1.5 * honest.value + 0.1
            assert fine, f"{name}: {metric} {honest.value} -> {damaged.value}"
