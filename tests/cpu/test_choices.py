"""The fastest way is taken, torch's own where none is clearly faster, and remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.cpu.choices import Choices


class Clock:
    """Measures a way by what it says it takes."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, work: Callable[[], object]) -> float:
        self.asked += 1
        found = work()
        assert isinstance(found, float)
        return found


def ways(**seconds: float) -> dict[str, Callable[[], object]]:
    return {name: lambda value=value: value for name, value in seconds.items()}


@pytest.mark.parametrize(("parts", "way"), [(0.9, "parts"), (0.97, "torch"), (2.0, "torch")])
def test_only_what_is_clearly_faster(parts: float, way: str) -> None:
    choices = Choices(seconds=Clock())
    assert choices.known(("conv", 1)) is None
    assert choices.fastest(("conv", 1), ways(torch=1.0, parts=parts)) == way
    assert choices.known(("conv", 1)) == way


def test_a_choice_is_measured_once(tmp_path: Path) -> None:
    file, clock = tmp_path / "new/kernels.json", Clock()
    first, other = Choices(file, clock), Choices(file, clock)
    assert first.fastest(("a",), ways(torch=2.0, parts=1.0)) == "parts"
    assert other.fastest(("b",), ways(torch=2.0, minimal=1.0)) == "minimal"
    asked, later = clock.asked, Choices(file, clock)
    assert later.fastest(("a",), ways(torch=1.0, parts=2.0)) == "parts"
    assert later.fastest(("b",), ways(torch=1.0, minimal=2.0)) == "minimal"
    assert clock.asked == asked
    # A way that is no longer there is measured anew.
    assert later.fastest(("b",), ways(torch=1.0, cells=2.0)) == "torch"


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file_is_made_anew(content: str, tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    file.write_text(content)
    assert Choices(file, Clock()).fastest(("a",), ways(torch=2.0, parts=1.0)) == "parts"
    assert "parts" in file.read_text()


def test_a_run_that_goes_on_does_as_before(tmp_path: Path) -> None:
    """Also on a machine that has measured otherwise."""
    before, elsewhere = Choices(seconds=Clock()), Choices(tmp_path / "kernels.json", Clock())
    assert before.fastest(("a",), ways(torch=2.0, parts=1.0)) == "parts"
    assert elsewhere.fastest(("a",), ways(torch=1.0, parts=2.0)) == "torch"
    elsewhere.load_state_dict(before.state_dict())
    assert elsewhere.known(("a",)) is None, "it is asked for again"
    assert elsewhere.state_dict() == before.state_dict(), "and kept until it is"
    assert elsewhere.fastest(("a",), ways(torch=1.0, parts=2.0)) == "parts"
    assert elsewhere.fastest(("b",), ways(torch=2.0, cells=1.0)) == "cells"
    later = Choices(tmp_path / "kernels.json", Clock())
    found = later.fastest(("a",), ways(torch=1.0, parts=2.0))
    assert found == "torch", "other runs do as was found here"
