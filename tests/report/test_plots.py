"""The plots: what they show, that they are the same every time, and that methods look different."""

from __future__ import annotations

import math
import re

import pytest

from core.report.plots import COLORS, DASHES, MARKERS, MAX_POINTS, Series, chart, curves, look

NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"


def points(svg: str, color: str = "var(--accent)") -> list[tuple[float, float]]:
    """Corners of the lines of a colour."""
    found = re.findall(rf'd="([^"]*)" style="fill: none; [^"]*stroke: {re.escape(color)}', svg)
    return [(float(x), float(y)) for d in found for x, y in re.findall(f"{NUMBER} {NUMBER}", d)]


def curve(*values: float | None) -> str:
    records = {i: {"gan": math.nan if v is None else v} for i, v in enumerate(values)}
    (one,) = curves(records)
    return one.svg


def test_a_curve_says_its_range_and_last_value() -> None:
    one, two = curves({5: {"a": 2.0}, 7: {"a": -1.0, "b": math.inf}})
    assert (one.name, one.last, one.low, one.high, one.is_finite) == ("a", -1.0, -1.0, 2.0, True)
    assert (two.last, two.low, two.high, two.is_finite) == (math.inf, 0.0, 0.0, False)
    assert curves({}) == []


def test_gaps_and_lone_values() -> None:
    svg = curve(1.0, None, math.nan, math.inf, 2.0, 3.0, None)
    (line,) = re.findall(r'd="(M[^"]*)" style="fill: none; stroke: var', svg)
    assert (line.count("M"), line.count("L")) == (2, 1)
    assert svg.count("<use") == 1, "the first value stands alone: a dot"
    assert curve(2.0).count("<use") == 1 and curve(2.0, 3.0).count("<use") == 0
    assert "nan" not in curve(math.nan) + curve(*[2.0] * 50) + svg


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    drawn = points(curve(*(i + 2000.0 * (i // 40 % 2) for i in range(5001))))
    assert MAX_POINTS / 2 < len(drawn) <= MAX_POINTS
    assert drawn[0][0] < 10 and drawn[-1][0] > 230
    assert drawn[0][1] > 40 and drawn[-1][1] < 20, "upwards"
    assert all(0 <= x <= 240 and 0 <= y <= 52 for x, y in drawn)


def test_plots_take_the_colours_of_the_page_and_are_the_same_each_time() -> None:
    series = [Series("a", 0, [(1.0, 2.0), (2.0, 3.0)])]
    drawn = [chart("t", ("x", "y"), series, 1.0).svg for _ in range(2)]  # type: ignore[union-attr]
    assert drawn[0] == drawn[1]
    for svg in (drawn[0], curve(1.0, 2.0)):
        assert "var(--" in svg and "#0" not in svg.replace(COLORS[0], "").replace('"#', "")
        assert (
            "url(" not in svg
            and "http" not in svg
            and "DejaVu" not in svg
            and 'id="axes' not in svg
        )


def test_methods_differ_without_colour() -> None:
    looks = {(DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)]) for i in range(30)}
    assert len(looks) == 30
    looks = {(look(i)["color"], look(i)["linestyle"]) for i in range(len(COLORS) * len(DASHES))}
    assert len(looks) == len(COLORS) * len(DASHES)


@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("y", [0.0, -3.5, 1e-6, 1e7])
def test_charts_of_any_range(y: float, log_x: bool) -> None:
    values = ((0.001, y), (40.0, y * 2), (math.nan, 1.0), (1.0, math.inf))
    nothing = Series("b", 1, ((0.0 if log_x else math.nan, 1.0),))
    one = chart("t", ("x & y", "<y>"), [Series("a", 0, values), nothing], math.nan, log_x)
    assert one is not None and not one.has_baseline
    assert [series.label for series in one.series] == ["a"] and len(one.series[0].points) == 2
    assert "x &amp; y" in one.svg and "<y>" not in one.svg
    drawn = points(one.svg, COLORS[0])
    assert len(drawn) == 2 and all(0 <= x <= 380 and 0 <= y <= 250 for x, y in drawn)
    assert 2 <= one.svg.count("text-anchor: middle") <= 12
    assert chart("t", ("x", "y"), [nothing], 1.0, log_x) is None
