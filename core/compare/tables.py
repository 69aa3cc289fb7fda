"""A comparison in numbers: for the page, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.compare.cost import Cost
from core.compare.entries import Method
from core.evaluation.scores import Better, Evaluation

COPIED = "input copied"
TITLES = {
    "fid": "FID",
    "kid": "KID",
    "kid_std": "KID spread",
    "psnr": "PSNR [dB]",
    "ssim": "SSIM",
    "edge_correlation": "edges kept",
    "color_inversion": "light kept",
    "lpips_diversity": "LPIPS diversity",
    "diversity": "diversity, pixels",
    "diversity_features": "diversity, features",
}
"""Metric to heading; `light kept` is the colour-inversion score."""


@dataclass
class Result:
    """A method and what was found of it.

    Attributes:
        method: the entry.
        cost: None if it failed.
        evaluation: None if it failed.
    """

    method: Method
    cost: Cost | None = None
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class Cell:
    """A value, and how it is written."""

    value: float | str | None
    shown: str
    best: bool = False


EMPTY = Cell(None, "")


@dataclass
class Table:
    """Named columns of cells.

    Attributes:
        title: heading.
        columns: {key: heading}.
        rows: {key: cell} each; a column that a row lacks is empty there.
    """

    title: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Cell]] = field(default_factory=list)

    def drop_empty(self) -> Table:
        """Without the columns in which no row has a value."""
        there = {key for row in self.rows for key, cell in row.items() if cell.value is not None}
        self.columns = {key: title for key, title in self.columns.items() if key in there}
        return self


def seconds_text(seconds: float | None) -> str:
    """`1 h 02 min`, `3 min 20 s`, `12.3 s`, `45 ms`."""
    if seconds is None:
        return ""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _bytes_text(num_bytes: float | None) -> str:
    if not num_bytes:
        return ""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 / 2 else f"{num_bytes / 1e6:.0f} MB"


def _count(value: int) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e4 else f"{value:,}"


def _number(value: float | None, key: str) -> Cell:
    if value is None or math.isnan(value):
        return EMPTY
    if math.isinf(value):
        return Cell(value, "∞")
    digits = 1 if key in ("psnr", "fid") else 4 if key.startswith("kid") else 3
    return Cell(value, f"{value:.{digits}f}")


def cost_table(results: Sequence[Result]) -> Table:
    """A row for each method: what its training took, what an image takes."""
    table = Table(
        "Cost",
        {
            "method": "method",
            "training_steps": "training steps",
            "training_seconds": "training time",
            "training_memory": "peak memory, training",
            "parameters": "parameters",
            "used": "of these to translate",
        },
    )
    for result in results:
        name = result.method.name
        shown = name if result.method.translator is not None else f"{name} (not compared)"
        row = {"method": Cell(name, shown)}
        training, cost = result.method.training, result.cost
        if training is not None:
            row["training_steps"] = Cell(training.steps, f"{training.steps:,}")
            row["training_seconds"] = Cell(training.seconds, seconds_text(training.seconds))
            memory = training.peak_memory_bytes
            row["training_memory"] = Cell(memory, _bytes_text(memory))
        if cost is not None:
            row["parameters"] = Cell(cost.parameters, _count(cost.parameters))
            row["used"] = Cell(cost.used, _count(cost.used))
            for timing in cost.timings:
                key = f"{timing.size}px"
                table.columns[f"seconds_{key}"] = f"time per image, {timing.size} px"
                row[f"seconds_{key}"] = Cell(timing.seconds, seconds_text(timing.seconds))
            for timing in cost.timings:
                key = f"{timing.size}px"
                table.columns[f"memory_{key}"] = f"peak memory, {timing.size} px"
                memory = timing.peak_memory_bytes or None
                row[f"memory_{key}"] = Cell(memory, _bytes_text(memory))
            row["device"] = Cell(cost.device, cost.device)
        table.rows.append(row)
    table.columns["device"] = "device"
    return table.drop_empty()


def quality_table(results: Sequence[Result], direction: str) -> Table:
    """A row for each method that translates this way, and one for the input handed back."""
    table = Table(f"Quality, {direction}", {"method": "method"})
    copied: dict[str, Cell] = {}
    ways: dict[str, Better] = {}
    for result in results:
        if result.evaluation is None or direction not in result.evaluation.directions:
            continue
        row = {"method": Cell(result.method.name, result.method.name)}
        for m in result.evaluation.directions[direction].measures:
            arrow = {"higher": " ↑", "lower": " ↓", "": ""}[m.better]
            table.columns[m.name] = TITLES.get(m.name, m.name) + arrow
            row[m.name], ways[m.name] = _number(m.value, m.name), m.better
            if m.copied is not None:
                copied[m.name] = _number(m.copied, m.name)
        table.rows.append(row)
    _mark_best(table.rows, ways)
    if copied and table.rows:
        table.rows.append({"method": Cell(COPIED, COPIED), **copied})
    order = ["method", *(key for key in TITLES if key in table.columns)]
    table.columns = {key: table.columns[key] for key in dict.fromkeys([*order, *table.columns])}
    return table


def _mark_best(rows: Sequence[dict[str, Cell]], ways: dict[str, Better]) -> None:
    """Of at least two methods, in columns where a way is better."""
    for key, way in ways.items():
        there = [row for row in rows if isinstance(row.get(key, EMPTY).value, float)]
        if way and len(there) > 1:
            values = [float(row[key].value or 0) for row in there]
            best = max(values) if way == "higher" else min(values)
            for row, value in zip(there, values, strict=True):
                if value == best:
                    row[key] = Cell(value, row[key].shown, best=True)


def directions(results: Iterable[Result]) -> list[str]:
    """Of all methods, AtoB first."""
    found = {d for r in results if r.evaluation for d in r.evaluation.directions}
    return sorted(found)


# -- Markdown, CSV, JSON --------------------------------------------------------------------------


def markdown_text(text: str) -> str:
    """Any string as one piece of plain text inside a Markdown table."""
    flat = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", flat)


def markdown_table(table: Table) -> str:
    """The best of a column in bold."""

    def shown(cell: Cell) -> str:
        written = markdown_text(cell.shown)
        return f"**{written}**" if cell.best else written

    lines = ["| " + " | ".join(markdown_text(title) for title in table.columns.values()) + " |"]
    lines.append("|" + " --- |" + " ---: |" * (len(table.columns) - 1))
    for row in table.rows:
        cells = (shown(row.get(key, EMPTY)) for key in table.columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown(results: Sequence[Result], notes: Sequence[str]) -> str:
    """All tables, what is wrong with an entry, and the notes."""
    tables = [quality_table(results, direction) for direction in directions(results)]
    parts = [f"**{t.title}**\n\n{markdown_table(t)}" for t in [*tables, cost_table(results)]]
    lines = [
        f"- {markdown_text(r.method.name)}: {markdown_text(problem)}"
        for r in results
        for problem in r.method.problems
    ]
    lines += [f"- {markdown_text(note)}" for note in notes]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else [])]) + "\n"


def _harmless(value: Any) -> Any:
    """A spreadsheet takes text that begins like this for a formula."""
    if isinstance(value, str) and value[:1] in tuple("=+-@\t\r"):
        return f"'{value}"
    return "" if value is None else value


def csv_text(results: Sequence[Result]) -> str:
    """A line for each method and direction, full precision, seconds and bytes."""
    costs = cost_table(results)
    per_direction = {d: quality_table(results, d) for d in directions(results)}
    quality = list(dict.fromkeys(k for t in per_direction.values() for k in t.columns))[1:]
    columns = [*costs.columns, "direction", *quality, "problems"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for result, cost in zip(results, costs.rows, strict=True):
        found = {
            d: row
            for d, t in per_direction.items()
            for row in t.rows
            if row["method"].value == result.method.name
        } or {"": {}}
        for direction, row in found.items():
            cells = {**cost, **row}
            values = {key: cell.value for key, cell in cells.items()}
            values |= {"direction": direction, "problems": "; ".join(result.method.problems)}
            writer.writerow([_harmless(values.get(key)) for key in columns])
    return stream.getvalue()


def tree(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Plain containers for JSON."""
    methods = []
    for result in results:
        training, cost = result.method.training, result.cost
        methods.append(
            {
                "name": result.method.name,
                "kind": result.method.kind,
                "problems": result.method.problems,
                "training": training
                and {
                    "steps": training.steps,
                    "seconds": training.seconds,
                    "peak_memory_bytes": training.peak_memory_bytes,
                },
                "parameters": cost and cost.parameters,
                "parameters_to_translate": cost and cost.used,
                "inference": [vars(timing) for timing in cost.timings] if cost else [],
                "device": cost and cost.device,
                "evaluation": result.evaluation.tree() if result.evaluation else None,
            }
        )
    return methods
