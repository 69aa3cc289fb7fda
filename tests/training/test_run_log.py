"""What a run writes down."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from core.training.run_log import RunLog


def test_means_of_finite_values(tmp_path: Path) -> None:
    log = RunLog(tmp_path, device="CPU", num_steps=9)
    for value in (1.0, math.nan, 3.0):
        log.add({"G": torch.tensor(value), "D": torch.tensor(math.inf)})
    means = log.means()
    assert means["G"] == pytest.approx(2.0)
    assert math.isnan(means["D"])
    assert log.means() == {}
    log.scalars(3, means, {"lr": 0.1})
    log.close()
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["losses"] == {"G": 2.0, "D": None}
    assert (record["lr"], record["device"], record["num_steps"]) == (0.1, "CPU", 9)


def test_measures_stand_in_lines_of_their_own(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.measures(7, {"diversity_AtoB": 0.5})
    log.close()
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["step"], record["measures"]) == (7, {"diversity_AtoB": 0.5})


def test_resuming_drops_later_and_cut_lines(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.scalars(step, {"G": 0.0}, {})
    log.message(3, "alarm", "late NaN in a text stays as it is")
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "los')
    RunLog(tmp_path, step=2).close()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    log = RunLog(None)
    log.add({"G": torch.tensor(1.0)})
    log.scalars(1, log.means(), {})
    log.message(1, "alarm", "unheard")
    log.close()
    assert list(tmp_path.iterdir()) == []
