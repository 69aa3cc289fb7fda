"""The simulated scheduler: nothing lost, what arithmetic says, and what stragglers cost."""

from __future__ import annotations

import pytest

from core.jobs.fleet import Fleet, Sharing, Work, estimate_seconds, simulate
from tests.processes import Script

HOUR = 3600


@pytest.mark.parametrize("sharing", ["queue", "fixed"])
def test_a_thousand_machines_that_fail_lose_nothing(sharing: Sharing) -> None:
    fleet = Fleet(1000, 22, failures_per_million_hours=20_000)
    work = Work(300_000_007, 10_000, sharing=sharing)
    outcome = simulate(fleet, work, seed=1)
    assert outcome.recorded == work.num_pictures
    machine_hours = 1000 * work.num_pictures / (1000 * 22) / HOUR  # those at work
    assert outcome.failures == pytest.approx(machine_hours * 0.02, rel=0.3)
    assert outcome.repeated / outcome.failures == pytest.approx(work.group_pictures / 2, rel=0.3)
    assert outcome == simulate(fleet, work, seed=1)


@pytest.mark.parametrize(
    ("fleet", "shard"),
    [
        (Fleet(1000, 22), 10_000),
        (Fleet(1000, 22, failures_per_million_hours=100_000), 4_000),
        (Fleet(200, 3, slow_share=0.1, slow_factor=8), 1_000),
        (Fleet(50, 40, spread=0, slow_share=0, failures_per_million_hours=0), 5_000),
    ],
)
def test_hours_are_those_of_arithmetic(fleet: Fleet, shard: int) -> None:
    work = Work(fleet.num_workers * shard * 40 + 1, shard)
    expected = estimate_seconds(fleet, work)
    assert simulate(fleet, work).seconds == pytest.approx(expected, rel=0.04)


def test_a_straggler_holds_up_those_with_fixed_shares_alone() -> None:
    fleet = Fleet(1000, 22, slow_share=0.01, slow_factor=4)
    queue = simulate(fleet, Work(10**8, 1_000))
    fixed = simulate(fleet, Work(10**8, 1_000, sharing="fixed"))
    assert queue.efficiency > 0.94
    assert fixed.seconds > 3.5 * queue.seconds


def test_the_plan(script: Script) -> None:
    done = script("plan", "--pictures", "1e8", "--machines", 1000, "--rate", 22)
    assert done.returncode == 0, done.stderr
    assert "read: 2.20 TB, 484 MB/s in all, 0.48 MB/s a machine" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()[5:]]
    assert [row[:3] for row in rows] == [
        ["queue", "1,000", "100,000"],
        ["queue", "10,000", "10,000"],
        ["queue", "100,000", "1,000"],
        ["fixed", "100,000", "1,000"],
    ]
    for arguments, message in (
        (("--machines", 10, "--rate", 0), "--rate 0: above 0"),
        (("--machines", 10**6, "--rate", 1), "at most 100,000"),
    ):
        done = script("plan", "--pictures", "1e8", *arguments)
        assert done.returncode == 2 and message in done.stderr
