"""Write the report of a comparison: one static page beside its pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

from core.compare.drawing import Drawing
from core.compare.entries import Method
from core.compare.tables import TITLES, directions, quality_table, tables
from core.report.gallery import MAX_ABREAST
from core.report.page import Row, find_picture, write_page
from core.report.plots import COLORS, Chart, Series, chart, curves, swatch

_QUALITY = ("student_distance", "fid", "fid_student", "edge_correlation")


def _charts(methods: Sequence[Method], direction: str) -> list[Chart]:
    """Draw quality against the time of the training, of one image, and while training.

    Quality is the student's distance to the truth where that is known (PSNR rewards blur), else
    FID, else how much of the edges is kept.
    """
    table = quality_table(methods, direction)
    key = next(
        (
            k
            for k in ("student_distance", "fid", "fid_student", "edge_correlation")
            if k in table.columns
        ),
        None,
    )
    if key is None:
        return []
    quality = {row["method"]: row.get(key, math.nan) for row in table.rows}
    by_training, by_image, course = [], [], []
    for place, method in enumerate(methods):
        y = quality.get(method.name, math.nan)
        # Without a time (that of a run elsewhere) there is no point; style methods need none.
        seconds = method.training.seconds if method.training else None
        minutes = 0.0 if method.kind == "style method" else (seconds or math.nan) / 60
        timed = method.cost.timings[:1] if method.cost else ()
        by_training.append(Series(method.name, place, [(minutes, y)]))
        by_image.append(Series(method.name, place, [(timing.seconds, y) for timing in timed]))
        course.append(Series(method.name, place, _course(method, f"test_{key}_{direction}")))
    x, label, copied = "minutes of training", TITLES[key], table.copied.get(key)
    charts = [
        chart(f"{direction}: training time and quality", (x, label), by_training, copied),
        chart(
            f"{direction}: time per image and quality",
            ("seconds per image", label),
            by_image,
            copied,
            log_x=True,
        ),
        chart(f"{direction}: while training, on its own test images", (x, label), course),
    ]
    return [one for one in charts if one is not None]


def _course(method: Method, name: str) -> list[tuple[float, float]]:
    """Return (minutes, value) of a measure that the run took of itself."""
    if method.training is None:
        return []
    record = method.training.record
    return [
        (seconds / 60, values[name])
        for step, values in record.measures.items()
        if name in values and (seconds := record.seconds_at(step)) is not None
    ]


def write_report(
    path: Path,
    title: str,
    summary: str,
    methods: Sequence[Method],
    drawing: Drawing,
    notes: Sequence[str],
) -> None:
    """Write the page `path`; the pictures of `drawing` lie beside it.

    `summary` says in a sentence or two what was compared on what; `notes` are on the measures.
    """
    # A method that failed leaves its place empty; published figures have no pictures.
    names = [m.name for m in methods if m.translator is not None or m.evaluation is None]
    grids = [
        Row(
            f"{direction}: contents down, styles or stages across",
            {name: find_picture(path.parent, paths.get(name)) for name in names},
            f"grids-{direction}",
            "grids",
        )
        for direction, paths in drawing.grids.items()
    ]
    inputs = []
    for row in drawing.rows:
        labels = drawing.columns(row.direction, names)
        pictures = {label: find_picture(path.parent, row.images.get(label)) for label in labels}
        inputs.append(Row(f"{row.direction} {row.name}", pictures, row.anchor, "inputs"))
    losses = {
        place: method.training.record.losses
        for place, method in enumerate(methods)
        if method.training is not None and method.training.record.losses
    }
    write_page(
        path,
        "comparison.html",
        title,
        summary=summary,
        notes=notes,
        methods=methods,
        tables=tables(methods),
        charts=[one for direction in directions(methods) for one in _charts(methods, direction)],
        swatches=[swatch(place) for place in range(len(methods))],
        colors=[COLORS[place % len(COLORS)] for place in range(len(methods))],
        losses=losses,
        curves=curves,
        grids=grids,
        inputs=inputs,
        columns=min(MAX_ABREAST, len(names) + 3),  # with input, example and truth
    )
