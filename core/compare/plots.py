"""Charts of a comparison as inline SVG.

Methods are told apart by colour, dash pattern and marker together, and are named where their lines
end, so that colour is never needed. Colours: Okabe and Ito 2008, "Color Universal Design", those
that stand out from white and from black.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.report.page import text

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "5 2 1 2 1 2")
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.8L4.6 3.6H-4.6z",
    "M0 -5L5 0L0 5L-5 0z",
    "M0 4.8L4.6 -3.6H-4.6z",
    "M-4.5 -1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
    "M-4 -4L0 -1L4 -4L1 0L4 4L0 1L-4 4L-1 0z",
)
"""Around the origin; their number has no factor in common with that of the colours."""
WIDTH, HEIGHT = 380, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 40
_LETTER, _LINE = 7.0, 14.0
"""Pixels that a letter takes on average, and a line of text."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One method in a chart.

    Attributes:
        label: its name.
        place: among all methods of the report, so that it looks the same in every chart.
        points: (x, y); one, or a line of several.
    """

    label: str
    place: int
    points: tuple[Point, ...]


def look(place: int) -> str:
    """CSS variables by which a method is drawn."""
    dash = DASHES[place % len(DASHES)] or "none"
    return f"--ink: {COLORS[place % len(COLORS)]}; --dash: {dash}"


def marker(place: int, x: float = 0, y: float = 0) -> str:
    """Its marker at a place of the drawing."""
    shape = MARKERS[place % len(MARKERS)]
    return f'<path class="marker" transform="translate({x:.1f} {y:.1f})" d="{shape}"/>'


def swatch(place: int) -> str:
    """A short line with the marker, for a heading."""
    return (
        f'<svg class="swatch" viewBox="0 0 36 12" aria-hidden="true" style="{look(place)}">'
        f'<path class="line" d="M0 6H36"/>{marker(place, 18, 6)}</svg>'
    )


def _ticks(low: float, high: float, num: int = 5) -> list[float]:
    """Round numbers within [low, high], about `num` of them."""
    rough = (high - low) / num
    unit = 10 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


class _Axis:
    """From values to pixels.

    Args:
        values: to be shown.
        start: pixel of the lowest.
        end: pixel of the highest.
        log: logarithmic.
    """

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool) -> None:
        self._log, self._start, self._end = log, start, end
        shown = [self._place(value) for value in values]
        low, high = min(shown), max(shown)
        air = (high - low) * 0.08 or (0.5 if log else abs(high) * 0.1 or 1.0)
        self._low, self._high = low - air, high + air

    def _place(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def at(self, value: float) -> float:
        share = (self._place(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        if not self._log:
            return _ticks(self._low, self._high)
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        all_ = [m * 10.0**d for d in decades for m in (1, 2, 5)]
        inside = [t for t in all_ if self._low <= math.log10(t) <= self._high]
        return inside if len(inside) <= 6 else [t for t in inside if f"{t:e}"[0] == "1"]


def _tick_text(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _axes(x: _Axis, y: _Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in y.ticks():
        at = y.at(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" class="end">{_tick_text(tick)}</text>'
        )
    for tick in x.ticks():
        at = x.at(tick)
        parts.append(f'<path class="grid" d="M{at:.1f} {bottom}v5"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 17}" class="middle">{_tick_text(tick)}</text>'
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 6}" class="end">{text(x_label)}</text>')
    parts.append(f'<text x="{_LEFT + 5}" y="{_TOP + 4}">{text(y_label)}</text>')
    return "".join(parts)


class _Labels:
    """Puts names beside points so that none covers another."""

    def __init__(self, taken: Sequence[Point]) -> None:
        self._boxes = [(x - 5, y - 5, x + 5, y + 5) for x, y in taken]
        self._boxes.append((_LEFT, 0, _LEFT + 110, _TOP + 8))  # the name of the axis

    def put(self, label: str, x: float, y: float) -> str:
        width = len(label) * _LETTER
        places = [
            (x + side, y + down)
            for down in (4, -9, 17, -23, 31, -37, 45, -51)
            for side in (9, -9 - width)
        ]
        left, base = next((p for p in places if self._free(*p, width)), places[0])
        self._boxes.append((left, base - _LINE + 3, left + width, base + 3))
        # Its end is what stands beside the point, however wide the letters are.
        near, end = (left + width, ' class="end"') if left < x else (left, "")
        lead = ""
        if abs(base - y) > _LINE:  # another point may lie between
            lead = f'<path class="lead" d="M{x:.1f} {y:.1f}L{near:.1f} {base - 4:.1f}"/>'
        return f'{lead}<text{end} x="{near:.1f}" y="{base:.1f}">{text(label)}</text>'

    def _free(self, left: float, base: float, width: float) -> bool:
        top, right, bottom = base - _LINE + 3, left + width, base + 3
        if left < _LEFT or right > WIDTH or top < 0 or bottom > HEIGHT - _BOTTOM:
            return False
        return all(
            right <= x0 or left >= x1 or bottom <= y0 or top >= y1 for x0, y0, x1, y1 in self._boxes
        )


def _along(points: Sequence[Point], num: int = 12) -> list[Point]:
    """Points of a line, with some on the way between them."""
    shares = [k / num for k in range(num)]
    between = [
        (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
        for (x0, y0), (x1, y1) in pairwise(points)
        for share in shares
    ]
    return [*between, points[-1]]


def chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    log_x: bool = False,
    baseline: tuple[str, float] | None = None,
) -> str:
    """HTML figure of points and lines; empty if there is nothing finite to draw.

    Args:
        title: above it.
        x_label: of the axis.
        y_label: of the axis.
        series: points that are not finite (or not positive, where logarithmic) are left out.
        log_x: logarithmic x.
        baseline: (name, y) of a horizontal line to compare with.
    """
    kept = []
    for one in series:
        points = tuple(
            (x, y)
            for x, y in one.points
            if math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x)
        )
        if points:
            kept.append(Series(one.label, one.place, points))
    if not kept:
        return ""
    ys = [y for one in kept for _, y in one.points]
    if baseline is not None and math.isfinite(baseline[1]):
        ys.append(baseline[1])
    x_axis = _Axis([x for one in kept for x, _ in one.points], _LEFT + 8, WIDTH - _RIGHT, log_x)
    y_axis = _Axis(ys, HEIGHT - _BOTTOM, _TOP + 14, log=False)
    drawn, ends = [_axes(x_axis, y_axis, x_label, y_label)], []
    labels = _Labels([(x_axis.at(x), y_axis.at(y)) for one in kept for x, y in _along(one.points)])
    if baseline is not None and math.isfinite(baseline[1]):
        at = y_axis.at(baseline[1])
        drawn.append(f'<path class="baseline" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>')
        place = f'x="{WIDTH - _RIGHT}" y="{at - 4:.1f}"'
        ends.append(f'<text class="soft end" {place}>{text(baseline[0])}</text>')
    for one in kept:
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in one.points]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        path = f'<path class="line" d="M{line}"/>' if len(places) > 1 else ""
        markers = "".join(marker(one.place, x, y) for x, y in places)
        drawn.append(f'<g style="{look(one.place)}">{path}{markers}</g>')
        ends.append(labels.put(one.label, *places[-1]))
    return (
        f'<figure class="card"><figcaption>{text(title)}</figcaption>'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{text(title)}">{"".join([*drawn, *ends])}</svg></figure>'
    )
