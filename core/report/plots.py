"""Plot as SVG inside a page: in the page's colours, light or dark, and its font.

Methods are told apart by colour, dash pattern and marker together, so that colour is never needed.
Colours: Okabe and Ito 2008, "Color Universal Design", those that stand out from white and black.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""The lengths of the three have no factor in common, so that many methods look different."""
MAX_POINTS = 240
"""Points of a curve at most; more than its pixels would only make the page heavy."""
_PAGE_COLORS = {
    "#010101": "accent",
    "#020202": "text",
    "#030303": "soft",
    "#040404": "line",
    "#050505": "card",
}
"""Colour given to matplotlib -> variable of the page's style that replaces it."""
_ACCENT, _TEXT, _SOFT, _LINE, _CARD = _PAGE_COLORS
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "page",  # the same plot gives the same bytes
    "font.size": 12.0,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "lines.solid_joinstyle": "round",
}


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of a training."""

    name: str
    svg: str
    """The drawing, without axes."""
    last: float
    """Latest value, which need not be finite."""
    low: float
    """Least finite value drawn; 0 without any."""
    high: float
    """Greatest one."""

    @property
    def is_finite(self) -> bool:
        """Whether the latest value is finite."""
        return math.isfinite(self.last)


@dataclass(frozen=True)
class Series:
    """One method in a chart."""

    label: str
    place: int
    """Among all methods of the report, so that it looks the same in every chart."""
    points: Sequence[tuple[float, float]]
    """(x, y); one, or a line of several."""


@dataclass(frozen=True)
class Chart:
    """Methods in a drawing with axes; the page names them below it.

    `has_baseline` is whether there is a line to compare with.
    """

    title: str
    svg: str
    series: Sequence[Series]
    has_baseline: bool


def look(place: int) -> dict[str, Any]:
    """Return matplotlib's options for the line and markers of a method."""
    return {
        "color": COLORS[place % len(COLORS)],
        "linestyle": DASHES[place % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)],
        "markeredgecolor": _CARD,
        "markersize": 9,
        "linewidth": 2,
        "clip_on": False,
    }


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of so many units, in the style of the pages."""
    import matplotlib  # noqa: PLC0415 - takes longer than a page without plots
    from matplotlib.figure import Figure  # noqa: PLC0415

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width / 72, height / 72))


def _svg(figure: Figure) -> str:
    """Return the drawing as an element for a page, without header, fonts and ids of groups."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    header, group, drawing = stream.getvalue().partition("<g id=")
    (view,) = re.findall(r'viewBox="[^"]*"', header)
    drawing = re.sub(r' id="[\w.]+_\d+"| font-family:[^;]*;', "", group + drawing)
    for color, name in _PAGE_COLORS.items():
        drawing = drawing.replace(color, f"var(--{name})")
    return f"<svg {view}>{' '.join(drawing.split())}"


def _thinned(points: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of at most `MAX_POINTS` means of neighbours; NaN where one is not finite."""
    values = np.array(points, float)
    values[~np.isfinite(values)] = np.nan
    groups = np.array_split(values, min(len(points), MAX_POINTS))
    x, y = np.transpose([group.mean(axis=0) for group in groups])
    return x, y


def curves(records: Mapping[int, Mapping[str, float]]) -> list[Curve]:
    """Draw a small curve of each quantity of {step: {name: value}}; what is not finite is a gap."""
    quantities: dict[str, list[tuple[int, float]]] = {}
    for step, values in records.items():
        for name, value in values.items():
            quantities.setdefault(name, []).append((step, value))
    return [_curve(name, points) for name, points in quantities.items()]


def _curve(name: str, points: Sequence[tuple[int, float]]) -> Curve:
    x, y = _thinned(points)
    there = np.isfinite(y)
    # A value between two gaps, or the only one, has no line: it shows as a dot.
    before_and_after = np.pad(there, 1)
    alone = there & ~before_and_after[:-2] & ~before_and_after[2:]
    with _figure(240, 52) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.margins(0.02, 0.08)
        dots: dict[str, Any] = {"marker": "o", "markersize": 5, "markevery": alone}
        axes.plot(x, y, color=_ACCENT, linewidth=1.5, clip_on=False, **dots)
        svg = _svg(figure)
    low, high = (float(y[there].min()), float(y[there].max())) if there.any() else (0.0, 0.0)
    return Curve(name, svg, points[-1][1], low, high)


def swatch(place: int) -> str:
    """Draw a short line with the marker of a method, for headings and legends."""
    with _figure(36, 12) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 2), ylim=(-1, 1))
        axes.set_axis_off()
        axes.plot((0, 1, 2), (0, 0, 0), markevery=[1], **look(place))
        return _svg(figure)


def chart(
    title: str,
    labels: tuple[str, str],
    series: Sequence[Series],
    baseline: float | None = None,
    log_x: bool = False,
) -> Chart | None:
    """Draw points and lines, with `labels` of the x and the y axis; None without a finite point.

    Points that are not finite (or not positive, where x is logarithmic) are left out. `baseline` is
    y of a horizontal line to compare with.
    """
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415

    kept = []
    for one in series:
        points = [(x, y) for x, y in one.points if math.isfinite(x + y) and (x > 0 or not log_x)]
        if points:
            kept.append(replace(one, points=points))
    if not kept:
        return None
    has_baseline = baseline is not None and math.isfinite(baseline)
    with _figure(380, 250) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
        axes.grid(axis="y", clip_on=False)
        axes.margins(0.08)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:.6g}")
            axes.xaxis.set_minor_locator(NullLocator())
        if baseline is not None and has_baseline:
            axes.axhline(baseline, color=_SOFT, linestyle=":", clip_on=False)
        for one in kept:
            axes.plot(*zip(*one.points, strict=True), **look(one.place))
        if log_x:
            low, high = axes.get_xlim()
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        return Chart(title, _svg(figure), kept, has_baseline)
