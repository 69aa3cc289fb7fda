"""Write a comparison in numbers: for the page, as Markdown, CSV and JSON."""

import csv
import html
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from core.compare.entries import Method
from core.evaluation.scores import Better
from core.report.page import duration

COPIED = "input copied"
TITLES = {
    "fid": "FID",
    "kid": "KID",
    "kid_std": "KID spread",
    "inception_score": "Inception Score",
    "detail_distance": "detail off [octaves]",
    "psnr": "PSNR [dB]",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "l1": "L1",
    "lpips": "LPIPS",
    "student_distance": "student's distance",
    "edge_correlation": "edges kept",
    "color_inversion": "light kept",
    "structure_distance": "structure lost",
    "lpips_diversity": "LPIPS diversity",
    "diversity": "diversity, pixels",
    "diversity_features": "diversity, features",
}
"""Metric to heading; `light kept` is the colour-inversion score."""


@dataclass(frozen=True)
class Column:
    """A column of a table: `show` writes its values, `better` is empty where no way is better."""

    title: str
    show: Callable[[Any], str] = str
    better: Better = ""

    @property
    def heading(self) -> str:
        """The title, with an arrow that points the better way."""
        return self.title + {"higher": " ↑", "lower": " ↓", "": ""}[self.better]


@dataclass(frozen=True)
class Cell:
    """A value, how it is written, and whether it is the best of at least two methods."""

    value: float | str | None
    shown: str
    best: bool = False


@dataclass
class Table:
    """Values by method."""

    title: str
    columns: dict[str, Column]
    """{key: column}; those in which no method has a value are dropped."""
    rows: list[dict[str, Any]]
    """{key: value} of each method."""
    copied: dict[str, Any] = field(default_factory=dict)
    """{key: value} of handing the input back, if known."""

    def __post_init__(self) -> None:
        there = {key for row in self.rows for key, value in row.items() if _there(value)}
        self.columns = {key: column for key, column in self.columns.items() if key in there}

    def cells(self) -> list[list[Cell]]:
        """Return the rows as they are shown, that of the copied input last."""
        best = {}
        for key, column in self.columns.items():
            values = [row[key] for row in self.rows if _there(row.get(key))]
            if column.better and len(values) > 1:
                best[key] = max(values) if column.better == "higher" else min(values)
        lines = [[self._cell(row, key, best.get(key)) for key in self.columns] for row in self.rows]
        if lines and self.copied:
            copied = {"method": COPIED, **self.copied}
            lines.append([self._cell(copied, key, None) for key in self.columns])
        return lines

    def _cell(self, row: Mapping[str, Any], key: str, best: float | None) -> Cell:
        value = row.get(key)
        if not _there(value):
            return Cell(None, "")
        return Cell(value, self.columns[key].show(value), best is not None and value == best)


def _there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _bytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 / 2 else f"{num_bytes / 1e6:.0f} MB"


def _count(value: int) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e4 else f"{value:,}"


def _number(key: str, value: float) -> str:
    digits = 1 if key in ("psnr", "fid") else 4 if key.startswith("kid") else 3
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def cost_table(methods: Sequence[Method]) -> Table:
    """Build the table of what a training took and what an image takes, method by method."""
    failed = [m.name for m in methods if m.translator is None and m.evaluation is None]
    sizes = sorted({timing.size for m in methods if m.cost for timing in m.cost.timings})
    columns = {
        "method": Column("method", lambda n: f"{n} (not compared)" if n in failed else n),
        "training_steps": Column("training steps", "{:,}".format),
        "training_seconds": Column("training time", duration),
        "training_memory": Column("peak memory, training", _bytes),
        "parameters": Column("parameters", _count),
        "used": Column("of these to translate", _count),
        **{f"seconds_{s}px": Column(f"time per image, {s} px", duration) for s in sizes},
        **{f"memory_{s}px": Column(f"peak memory, {s} px", _bytes) for s in sizes},
        "device": Column("device"),
    }
    rows = []
    for method in methods:
        training, cost = method.training, method.cost
        row: dict[str, Any] = {"method": method.name}
        if training is not None:
            row["training_steps"] = training.steps
            row["training_seconds"] = training.seconds
            row["training_memory"] = training.peak_memory_bytes
        if cost is not None:
            row |= {"parameters": cost.parameters, "used": cost.used, "device": cost.device}
            for timing in cost.timings:
                row[f"seconds_{timing.size}px"] = timing.seconds
                row[f"memory_{timing.size}px"] = timing.peak_memory_bytes or None
        rows.append(row)
    return Table("Cost", columns, rows)


def quality_table(methods: Sequence[Method], direction: str) -> Table:
    """Build the table of what was measured, with a row for the input handed back."""
    rows, copied, columns = [], {}, {}
    for method in methods:
        if method.evaluation is None or direction not in method.evaluation.directions:
            continue
        row: dict[str, Any] = {"method": method.name}
        for name, m in method.evaluation.directions[direction].measures.items():
            row[name] = m.value
            columns[name] = Column(TITLES.get(name, name), partial(_number, name), m.better)
            if m.input_copied is not None:
                copied[name] = m.input_copied
        rows.append(row)
    order = dict.fromkeys([*(key for key in TITLES if key in columns), *columns])
    shown = {"method": Column("method"), **{key: columns[key] for key in order}}
    return Table(f"Quality, {direction}", shown, rows, copied)


def directions(methods: Iterable[Method]) -> list[str]:
    """Return the directions that any method was measured in, AtoB first."""
    return sorted({d for m in methods if m.evaluation for d in m.evaluation.directions})


def tables(methods: Sequence[Method]) -> list[Table]:
    """Build all tables, quality first."""
    quality = [quality_table(methods, direction) for direction in directions(methods)]
    return [*quality, cost_table(methods)]


# -- Markdown, CSV, JSON --------------------------------------------------------------------------


def markdown_text(text: str) -> str:
    """Escape any string as one piece of plain text inside a Markdown table."""
    flat = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", flat)


def _markdown_table(table: Table) -> str:
    """Write a table, the best of a column in bold."""
    lines = [[markdown_text(column.heading) for column in table.columns.values()]]
    lines.append(["---", *["---:"] * (len(table.columns) - 1)])
    for row in table.cells():
        shown = [(markdown_text(cell.shown), cell.best) for cell in row]
        lines.append([f"**{text}**" if best else text for text, best in shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(methods: Sequence[Method], notes: Sequence[str]) -> str:
    """Write all tables, what is wrong with an entry, and the notes."""
    parts = [f"**{table.title}**\n\n{_markdown_table(table)}" for table in tables(methods)]
    lines = [
        f"- {markdown_text(method.name)}: {markdown_text(problem)}"
        for method in methods
        for problem in method.problems
    ]
    lines += [f"- {markdown_text(note)}" for note in notes]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else [])]) + "\n"


def _harmless(value: Any) -> Any:
    """Quote text that a spreadsheet would take for a formula."""
    if isinstance(value, str) and value[:1] in tuple("=+-@\t\r"):
        return f"'{value}"
    return value if _there(value) else ""


def csv_text(methods: Sequence[Method]) -> str:
    """Write a line for each method and direction, in full precision, seconds and bytes."""
    costs = cost_table(methods)
    quality = {d: quality_table(methods, d) for d in directions(methods)}
    keys = dict.fromkeys(key for table in quality.values() for key in table.columns)
    keys.pop("method", None)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*costs.columns, "direction", *keys, "problems"])
    for method, cost in zip(methods, costs.rows, strict=True):
        measured = {
            d: row
            for d, table in quality.items()
            for row in table.rows
            if row["method"] == method.name
        }
        for direction, row in (measured or {"": {}}).items():
            left, right = map(cost.get, costs.columns), map(row.get, keys)
            line = [*left, direction, *right, "; ".join(method.problems)]
            writer.writerow(map(_harmless, line))
    return stream.getvalue()


def tree(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """Return everything as plain containers for JSON."""
    return [
        {
            "name": method.name,
            "kind": method.kind,
            "problems": method.problems,
            "training": (run := method.training)
            and {key: getattr(run, key) for key in ("steps", "seconds", "peak_memory_bytes")},
            "parameters": (cost := method.cost) and cost.parameters,
            "parameters_to_translate": cost and cost.used,
            "inference": [asdict(timing) for timing in cost.timings] if cost else [],
            "device": cost and cost.device,
            "evaluation": method.evaluation and method.evaluation.tree(),
        }
        for method in methods
    ]
