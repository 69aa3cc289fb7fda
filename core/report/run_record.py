"""Read back what a run has written down in log.jsonl."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Progress:
    """How far a run is, by the latest line that says so; None where no line does."""

    step: int = 0
    num_steps: int | None = None
    """Of the whole training."""
    epoch: float | None = None
    """From 0."""
    steps_per_second: float | None = None
    """Over the latest window."""
    elapsed_seconds: float | None = None
    """Wall time of the training, resumed pieces added up."""
    device: str | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the end at the present speed; None where that is not known."""
        if not self.num_steps or not self.steps_per_second:
            return None
        return max(0, self.num_steps - self.step) / self.steps_per_second


@dataclass
class RunRecord:
    """The lines of a log, by step."""

    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    """{step: {term: mean of its window}}; NaN where it was not finite."""
    measures: dict[int, dict[str, float]] = field(default_factory=dict)
    """{step: {measure: value}}, likewise."""
    seconds: dict[int, float] = field(default_factory=dict)
    """{step: wall time of the training up to it, resumed pieces added up}."""
    peak_memory_bytes: float = 0.0
    """Most bytes that any piece of the run held; 0 where unknown."""
    alarms: list[tuple[int, str]] = field(default_factory=list)
    """(step, sentence)."""
    progress: Progress = Progress()
    num_unreadable: int = 0
    """Lines cut off by a crash; not fatal, since the run goes on."""

    def add(self, step: int, record: Mapping[str, Any]) -> None:
        """Take up one line; where the step falls back, forget the lines that it overtakes."""
        if step < self.progress.step:
            self.forget(step)
        for kept, key in ((self.losses, "losses"), (self.measures, "measures")):
            if record.get(key):
                kept[step] = {
                    name: math.nan if value is None else float(value)
                    for name, value in record[key].items()
                }
        if record.get("elapsed_seconds"):
            self.seconds[step] = float(record["elapsed_seconds"])
        memory = float(record.get("peak_memory_bytes") or 0)
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)
        known = {key.name: record[key.name] for key in fields(Progress) if key.name in record}
        self.progress = replace(self.progress, **known)
        if record.get("alarm"):
            self.alarms.append((step, str(record["alarm"])))

    def forget(self, step: int) -> None:
        """Drop what was logged from `step` on, since the run went back to before it."""
        self.losses = {s: terms for s, terms in self.losses.items() if s < step}
        self.measures = {s: values for s, values in self.measures.items() if s < step}
        self.seconds = {s: value for s, value in self.seconds.items() if s < step}
        self.alarms = [alarm for alarm in self.alarms if alarm[0] < step]

    def seconds_at(self, step: int) -> float | None:
        """Interpolate the wall time up to a step between log lines; None before the first."""
        steps = sorted(self.seconds)
        if not steps or step < steps[0]:
            return None
        return float(np.interp(step, steps, [self.seconds[s] for s in steps]))


def read_record(path: Path) -> RunRecord:
    """Read a log.jsonl; an empty record where there is none."""
    record = RunRecord()
    if not path.exists():
        return record
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                record.add(int(entry["step"]), entry)
            except (ValueError, KeyError, TypeError, AttributeError):
                record.num_unreadable += 1
    return record
