"""The report of a comparison: one static page beside its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from core.compare.drawing import Drawing
from core.compare.plots import Series, chart, look, swatch
from core.compare.tables import (
    EMPTY,
    TITLES,
    Result,
    Table,
    cost_table,
    directions,
    quality_table,
)
from core.report.gallery import MAX_ABREAST, article, charts
from core.report.page import LIGHTBOX, RUN_STYLE, SCRIPT, TEST_STYLE, text, write_page

STYLE = f"""{RUN_STYLE}{TEST_STYLE}
nav {{ display: flex; flex-wrap: wrap; gap: .25rem 1rem; }}
a {{ color: var(--accent); }}
section {{ scroll-margin-top: 5rem; }}
.rows h2 {{ scroll-margin-top: 6rem; }}
article {{ scroll-margin-top: 5rem; }}
article:target {{ outline: 2px solid var(--accent); }}
.scroll {{ overflow-x: auto; padding: 0; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: .45rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: bottom; }}
td {{ white-space: nowrap; }}
tbody tr:last-child > * {{ border-bottom: 0; }}
th:first-child {{ position: sticky; left: 0; text-align: left; background: var(--card);
  font-weight: 500; overflow-wrap: anywhere; min-width: min(9rem, 30vw); }}
thead th {{ font-weight: 500; min-width: 5.5rem; }}
thead button {{ width: 100%; padding: 0; border: 0; background: none; text-align: inherit;
  color: var(--soft); line-height: 1.25; }}
thead [aria-sort=ascending] button::after {{ content: " ▲"; }}
thead [aria-sort=descending] button::after {{ content: " ▼"; }}
thead [aria-sort] button {{ color: var(--text); }}
thead [aria-sort=none] button {{ color: var(--soft); }}
.best {{ font-weight: 700; }}
.plots {{ display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }}
.chart {{ display: block; width: 100%; max-width: 34rem; margin-top: .4rem; font-size: 12px; }}
.chart text {{ fill: var(--text); }}
.chart .soft {{ fill: var(--soft); font-size: 12px; }}
.chart .end {{ text-anchor: end; }}
.chart .middle {{ text-anchor: middle; }}
.lead {{ stroke: var(--soft); stroke-width: .75; }}
.grid, .axis {{ fill: none; stroke: var(--line); }}
.axis {{ stroke: var(--soft); }}
.baseline {{ stroke: var(--soft); stroke-dasharray: 1 3; fill: none; }}
.line {{ fill: none; stroke: var(--ink); stroke-width: 2; stroke-dasharray: var(--dash); }}
.marker {{ fill: var(--ink); stroke: var(--card); stroke-width: 1; }}
.swatch {{ width: 36px; height: 12px; vertical-align: middle; margin-right: .5rem; }}
h3 {{ margin: 1.25rem 0 .5rem; font-size: .95rem; font-weight: 600; }}
h3 .soft {{ font-weight: 400; }}
.run .charts path {{ stroke: var(--ink); }}
.rows.wide .cells {{ align-items: start; }}
.grids .missing {{ aspect-ratio: 3; }}
.rows.wide {{ grid-template-columns: minmax(0, 1fr); }}
.rows.grids .cells {{ grid-template-columns:
  repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }}
.notes li {{ overflow-wrap: anywhere; }}
@media (max-width: 40rem) {{ .bar {{ position: static; }} }}
"""

SORT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (line, i) => line.cells[i].dataset.value;
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(one => one.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort((p, q) => {
      const a = value(p, i), b = value(q, i);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? order : -order;
    }));
  }));
}
"""


def _table(table: Table) -> str:
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{text(title)}</button></th>'
        for title in table.columns.values()
    )
    lines = []
    for row in table.rows:
        cells = []
        for place, key in enumerate(table.columns):
            cell = row.get(key, EMPTY)
            value = "" if cell.value is None else text(str(cell.value))
            tag, scope = ("td", "") if place else ("th", ' scope="row"')
            best = ' class="best"' if cell.best else ""
            shown = text(cell.shown) or "–"
            cells.append(f'<{tag}{scope}{best} data-value="{value}">{shown}</{tag}>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    title = text(table.title)
    return (
        f'<h2>{title}</h2>\n<div class="card scroll number" tabindex="0" role="region" '
        f'aria-label="{title}"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>'
        + "\n".join(lines)
        + "</tbody></table></div>"
    )


def _quality(results: Sequence[Result], direction: str) -> tuple[str, Table]:
    """The measure that quality is plotted by: of the distances to truth the first there is."""
    table = quality_table(results, direction)
    keys = ("psnr", "fid", "edge_correlation")
    return next((key for key in keys if key in table.columns), ""), table


def _plots(results: Sequence[Result]) -> str:
    """Time against quality: of the training, of one image, and while training."""
    figures = []
    for direction in directions(results):
        key, table = _quality(results, direction)
        if not key:
            continue
        by_name = {row["method"].value: row for row in table.rows}
        # A row that is no method's is the input handed back.
        names = {result.method.name for result in results}
        copied = next((row.get(key) for name, row in by_name.items() if name not in names), None)
        line = None
        if copied is not None and isinstance(copied.value, float):
            line = ("input copied", copied.value)
        training, inference, course = [], [], []
        for place, result in enumerate(results):
            name, method = result.method.name, result.method
            value = by_name.get(name, {}).get(key, EMPTY).value
            if isinstance(value, float):
                seconds = method.training.seconds if method.training else None
                if seconds is not None or method.kind == "style method":
                    training.append(Series(name, place, (((seconds or 0) / 60, value),)))
                if result.cost and result.cost.timings:
                    timing = result.cost.timings[0]
                    inference.append(Series(name, place, ((timing.seconds, value),)))
            if method.training:
                points = _course(result, f"test_{key}_{direction}")
                course.append(Series(name, place, points))
        label = TITLES[key]
        figures += [
            chart(f"{direction}: training time and quality", "minutes of training", label,
                  training, baseline=line),
            chart(f"{direction}: time per image and quality", "seconds per image", label,
                  inference, log_x=True, baseline=line),
            chart(f"{direction}: while training, on its own test images", "minutes of training",
                  label, course),
        ]  # fmt: skip
    drawn = "\n".join(figure for figure in figures if figure)
    return f'<h2>Time and quality</h2>\n<div class="plots">\n{drawn}\n</div>' if drawn else ""


def _course(result: Result, name: str) -> tuple[tuple[float, float], ...]:
    """(minutes, value) of a measure that the run took of itself."""
    assert result.method.training is not None, "of trained methods"
    record, points = result.method.training.record, []
    for step, values in record.measures.items():
        seconds = record.seconds_at(step)
        if name in values and seconds is not None:
            points.append((seconds / 60, values[name]))
    return tuple(points)


def _losses(results: Sequence[Result]) -> str:
    """Small multiples, run by run: the terms of two families have little in common."""
    parts = []
    for place, result in enumerate(results):
        training = result.method.training
        if training is not None and training.record.losses:
            curves = charts(result.method.name, training.record.losses, level=3)
            head = curves.replace("<h3>", f"<h3>{swatch(place)}", 1)
            parts.append(f'<div class="run" style="{look(place)}">{head}</div>')
    return "<h2>Loss curves</h2>\n" + "\n".join(parts) if parts else ""


def _list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<h2>{title}</h2>\n<ul class="notes">{items}</ul>' if lines else ""


def _remarks(results: Sequence[Result]) -> str:
    return _list(
        "Remarks",
        [
            f"<b>{text(result.method.name)}</b>: {text(problem)}"
            for result in results
            for problem in result.method.problems
        ],
    )


def _pictures(drawing: Drawing, results: Sequence[Result]) -> str:
    """Grids, then every input with all methods; a method that failed leaves its place empty."""
    names = [result.method.name for result in results]
    grids = "\n".join(
        article(
            f"{direction}: contents down, styles or stages across",
            paths,
            names,
            f' id="grids-{direction}" data-group="grids"',
        )
        for direction, paths in drawing.grids.items()
    )
    rows = "\n".join(
        article(
            f"{row.direction} {row.name}",
            row.images,
            drawing.columns(row.direction, names),
            f' id="{text(row.anchor)}" data-group="inputs"',
        )
        for row in drawing.rows
    )
    width = min(MAX_ABREAST, len(names) + 3)  # with input, example and truth
    return (
        f'<h2 id="grids">Grids</h2>\n<div class="rows wide grids" style="--columns: 2">{grids}'
        f'</div>\n<h2 id="inputs">Every input</h2>\n<div class="rows wide" '
        f'style="--columns: {width}">\n{rows}\n</div>'
    )


def write_report(
    path: Path,
    title: str,
    summary: str,
    results: Sequence[Result],
    drawing: Drawing,
    notes: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: the file; its pictures lie beside it.
        title: heading.
        summary: what was compared on what, one or two sentences.
        results: method by method.
        drawing: what was drawn of them.
        notes: on the measures.

    Raises:
        UserError: it cannot be written.
    """
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    links = {"numbers": "Numbers", "plots": "Plots", "grids": "Grids", "inputs": "Every input"}
    nav = "".join(f'<a href="#{key}">{name}</a>' for key, name in links.items())
    tables = [quality_table(results, direction) for direction in directions(results)]
    numbers = "\n".join(_table(table) for table in [*tables, cost_table(results)])
    num_rows = len(drawing.rows) + len(drawing.grids)
    body = (
        f'<header class="bar"><h1>{text(title)}</h1>'
        f'<span class="soft number" id="count">{num_rows}</span>'
        '<input type="search" id="filter" placeholder="Filter inputs" aria-label="Filter inputs">'
        f'</header>\n<p>{text(summary)} <span class="soft number">Written {now}.</span></p>\n'
        f"<nav>{nav}</nav>\n<main>\n"
        f'<section id="remarks">{_remarks(results)}</section>\n'
        f'<section id="numbers">{numbers}\n<p class="soft">Best of a column in bold; ↑ higher is '
        "better, ↓ lower. The tables also lie beside this page as "
        '<a href="table.csv">CSV</a>, <a href="comparison.json">JSON</a> and '
        '<a href="table.md">Markdown</a>.</p>\n'
        f"{_list('Notes', [text(note) for note in notes])}</section>\n"
        f'<section id="plots">{_plots(results)}\n{_losses(results)}</section>\n'
        f'<section id="pictures">{_pictures(drawing, results)}</section>\n</main>\n'
        f"{LIGHTBOX}<script>{SCRIPT}{SORT}</script>"
    )
    write_page(path, title, STYLE, body)
