"""Workers that die."""

from __future__ import annotations

import os
import signal

import pytest

from core.errors import UserError
from core.jobs.bulk.workers import Workers


def double(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 4:
        raise UserError("four")
    return 2 * number


def test_only_what_kills_its_worker_is_lost() -> None:
    with Workers(1) as workers:
        tasks = [workers.submit(double, number) for number in range(5)]
        assert [task.result() for task in tasks[:2]] == [0, 2]
        with pytest.raises(UserError, match="the process that worked on it died"):
            tasks[2].result()
        assert tasks[3].result() == 6
        with pytest.raises(UserError, match="four"):
            tasks[4].result()
        assert workers.submit(double, 5).result() == 10


def test_a_death_costs_two_new_processes_however_much_was_waiting() -> None:
    with Workers(1) as workers:
        (first,) = {workers.submit(os.getpid).result() for _ in range(3)}
        waiting = [workers.submit(os.getpid) for _ in range(20)]
        os.kill(first, signal.SIGKILL)
        seen = {task.result() for task in waiting} | {first}
        later = {workers.submit(os.getpid).result() for _ in range(5)}
        assert len(later) == 1 and len(seen | later) <= 3
