"""What a run has written down in log.jsonl, read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a run is, by the latest line that says so; None where no line does.

    Attributes:
        step: of the latest line.
        num_steps: of the whole training.
        epoch: from 0.
        steps_per_second: over the latest window.
        elapsed_seconds: wall time of the training, resumed pieces added up.
        device: what it runs on.
    """

    step: int = 0
    num_steps: int | None = None
    epoch: float | None = None
    steps_per_second: float | None = None
    elapsed_seconds: float | None = None
    device: str | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the end at the present speed; None where that is not known."""
        if not self.num_steps or not self.steps_per_second:
            return None
        return max(0, self.num_steps - self.step) / self.steps_per_second


@dataclass
class RunRecord:
    """The lines of a log, by step.

    Attributes:
        losses: {step: {term: mean of its window}}; NaN where it was not finite.
        measures: {step: {measure: value}}, likewise.
        seconds: {step: wall time of the training up to it, resumed pieces added up}.
        peak_memory_bytes: most bytes that any piece of the run held; 0 where unknown.
        alarms: (step, sentence).
        progress: how far the run is.
        num_unreadable: lines cut off by a crash; not fatal, since the run goes on.
    """

    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    measures: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    peak_memory_bytes: float = 0.0
    alarms: list[tuple[int, str]] = field(default_factory=list)
    progress: Progress = Progress()
    num_unreadable: int = 0

    def add(self, step: int, record: Mapping[str, Any], latest: int) -> None:
        """Take up one line.

        Args:
            step: of the line.
            record: the line.
            latest: step of the line before.
        """
        if step < latest:
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
        before = max((s for s in self.seconds if s <= step), default=None)
        after = min((s for s in self.seconds if s >= step), default=None)
        if before is None or after is None:
            return None if before is None else self.seconds[before]
        if before == after:
            return self.seconds[before]
        share = (step - before) / (after - before)
        return self.seconds[before] + share * (self.seconds[after] - self.seconds[before])


def read_record(path: Path) -> RunRecord:
    """Read a log.jsonl; an empty record where there is none."""
    record, latest = RunRecord(), -1
    if not path.exists():
        return record
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                step = int(entry["step"])
                record.add(step, entry, latest)
            except (ValueError, KeyError, TypeError, AttributeError):
                record.num_unreadable += 1
            else:
                latest = step
    return record
