"""The benchmark of smoothing measures what it says."""

from __future__ import annotations

import pytest

from style.photo.benchmark import benchmark_smoothing

pytest.importorskip("scipy")


@pytest.mark.usefixtures("quick_spawn")
def test_both_solvers_in_processes_of_their_own() -> None:
    report = benchmark_smoothing([40, 48], repeats=1, largest_direct=40)
    small, large = report["sizes"]["40"], report["sizes"]["48"]
    assert small["mean_abs_difference"] < 1e-3
    assert small["ratio"] == small["direct"]["seconds"] / small["ours"]["seconds"]
    assert "peak_memory_bytes" in small["ours"]  # 0 where the imports took more
    assert set(large) == {"ours"}, "too large for the direct solver"
