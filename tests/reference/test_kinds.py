"""No reference case goes unnoticed: one whose kind no test runs fails here."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.conftest import reference_dir
from tests.reference.cases import TESTED, Case, all_cases, each

for path in sorted(Path(__file__).parent.glob("test_*.py")):
    if path.stem != Path(__file__).stem:
        importlib.import_module(f"tests.reference.{path.stem}")  # fills `TESTED`


@pytest.mark.parametrize("kind", sorted(TESTED | {case.kind for case in all_cases().values()}))
def test_a_kind_has_tests_and_cases(kind: str) -> None:
    cases = [name for name, case in all_cases().items() if case.kind == kind]
    assert kind in TESTED, f"no test runs these cases: {cases}"
    if not cases:
        where = f"tests/reference/cases or at {reference_dir()} (set $REFERENCE_DIR)"
        pytest.skip(f"no reference case of kind {kind} in {where}")


@each("cut_iteration", "cyclegan_iteration", "pix2pix_iteration")
def test_iterations_stand_in_their_family(case: Case) -> None:
    assert case.kind == f"{case.family}_iteration"
