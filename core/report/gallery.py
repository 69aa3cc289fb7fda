"""Static HTML pages of a run and of a test: no server, no network, no file but the pictures.

The pages open from the disk (file://), travel with their folder, and show their pictures without
JavaScript too. Everything that stems from users (file names, labels, messages) is escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from core.errors import UserError
from core.report.page import LIGHTBOX, RUN_STYLE, SCRIPT, TEST_STYLE, text, url, write_page
from core.report.pictures import write_file
from core.report.run_record import read_record

CHART_WIDTH, CHART_HEIGHT = 240, 48
MAX_ABREAST = 8
"""Pictures of one input beside each other; further ones begin a new line."""
MAX_CHART_POINTS = 240
"""More points than pixels would only make the page heavy."""


@dataclass(frozen=True)
class Sample:
    """One sample grid of a run, as `samples/index.json` keeps it.

    Attributes:
        step: training step at which it was drawn.
        path: of the picture, relative to the run folder, with forward slashes.
        time: local time with UTC offset, ISO 8601, to the second.
        width: pixels; the page reserves the room before the picture is loaded.
        height: pixels.
    """

    step: int
    path: str
    time: str
    width: int
    height: int


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most `MAX_CHART_POINTS` points, means of neighbours; NaN where one of them is."""
    size = math.ceil(len(points) / MAX_CHART_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _chart(term: str, points: Sequence[tuple[int, float]]) -> str:
    """HTML figure of one loss term: name, last value, curve, and the curve's range."""
    last = points[-1][1]
    curve = _thinned(points)
    finite = [y for _, y in curve if math.isfinite(y)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    first, span = curve[0][0], (curve[-1][0] - curve[0][0]) or 1
    path, pen = [], "M"
    for x, y in curve:
        if not math.isfinite(y):
            pen = "M"
            continue
        # A constant lies in the middle; two units of air keep the stroke inside the picture.
        share = (y - low) / (high - low) if high > low else 0.5
        across = (x - first) / span * CHART_WIDTH
        path.append(f"{pen}{across:.1f} {2 + (1 - share) * (CHART_HEIGHT - 4):.1f}")
        pen = "L"
    bad = "" if math.isfinite(last) else " bad"
    return (
        f'<figure class="card"><figcaption><span>{text(term)}</span>'
        f'<b class="number{bad}">{last:.4g}</b></figcaption>'
        f'<svg viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(term)} over the steps"><path d="{"".join(path)}"/></svg>'
        f'<div class="range soft number"><span>min {low:.3g}</span>'
        f"<span>max {high:.3g}</span></div></figure>"
    )


def charts(title: str, records: Mapping[int, Mapping[str, float]], level: int = 2) -> str:
    """A heading, and a small chart for each term; nothing where there are no records.

    Args:
        title: of the heading.
        records: {step: {term: value}}.
        level: of the heading.
    """
    if not records:
        return ""
    terms: dict[str, list[tuple[int, float]]] = {}
    for step, values in records.items():
        for term, value in values.items():
            terms.setdefault(term, []).append((step, value))
    figures = "\n".join(_chart(term, points) for term, points in terms.items())
    first, last = min(records), max(records)
    return (
        f'<h{level}>{text(title)} <span class="soft number">steps {first:,} to {last:,}</span>'
        f'</h{level}>\n<div class="charts">\n{figures}\n</div>'
    )


def _alarms(alarms: Iterable[tuple[int, str]]) -> str:
    items = "\n".join(
        f'<li><b class="number">step {step:,}</b> {text(message)}</li>'
        for step, message in reversed(list(alarms))
    )
    return f'<h2>Alarms</h2>\n<ul class="alarms">\n{items}\n</ul>' if items else ""


def _sample(sample: Sample) -> str:
    time = sample.time[:16].replace("T", " ")
    return (
        f'<figure class="card sample" id="step-{sample.step}"><figcaption>'
        f'<b class="number">Step {sample.step:,}</b>'
        f'<time class="soft number" datetime="{text(sample.time)}">{text(time)}</time>'
        f'</figcaption><a href="{url(sample.path)}"><img loading="lazy" src="{url(sample.path)}" '
        f'width="{sample.width}" height="{sample.height}" alt="Samples at step {sample.step}">'
        "</a></figure>"
    )


class RunGallery:
    """The page `index.html` of a run folder: losses, alarms and all sample grids, newest first.

    It reads `log.jsonl`, one JSON object per line with an integer `step` and, where there is
    something to show, `losses` or `measures` ({name: number, or null if it was not finite}) or
    `alarm` (a sentence); other keys are ignored. Where `step` falls back, because the run was
    resumed, the lines it overtakes are left out. The grids are listed in `samples/index.json`,
    which a resumed run takes up again. One process writes the page.

    Attributes:
        samples: the grids so far, oldest first.
    """

    def __init__(self, run_dir: Path) -> None:
        """Take up the list of grids in `run_dir`, or begin one; nothing is written yet.

        Raises:
            UserError: `samples/index.json` is there but damaged.
        """
        self.run_dir = run_dir
        self._index = run_dir / "samples" / "index.json"
        self.samples: list[Sample] = []
        if self._index.exists():
            try:
                entries = json.loads(self._index.read_text(encoding="utf-8"))
                self.samples = sorted((Sample(**e) for e in entries), key=lambda e: e.step)
            except (ValueError, TypeError, OSError) as error:
                raise UserError(
                    f"{self._index}: not the list of sample grids that a run writes "
                    f"({error}); delete it to begin a new list"
                ) from error

    def add(self, step: int, picture: Path) -> None:
        """List a sample grid and rewrite the page.

        Args:
            step: training step; a grid listed for the same step before is replaced.
            picture: the written image file, somewhere below the run folder.

        Raises:
            UserError: the picture cannot be read, or the page cannot be written.
        """
        try:
            with Image.open(picture) as image:
                width, height = image.size
        except OSError as error:
            raise UserError(
                f"{picture}: not a readable picture ({error.strerror or error}); "
                "write the sample grid before it is listed"
            ) from error
        path = picture.resolve().relative_to(self.run_dir.resolve()).as_posix()
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        others = [sample for sample in self.samples if sample.step != step]
        self.samples = sorted(
            [*others, Sample(step, path, now, width, height)], key=lambda sample: sample.step
        )
        self.write()

    def resume(self, step: int) -> None:
        """Forget the grids drawn after `step`, the one that training goes on from.

        Raises:
            UserError: the page cannot be written.
        """
        self.samples = [sample for sample in self.samples if sample.step <= step]
        self.write()

    def write(self) -> None:
        """Rewrite `samples/index.json` and `index.html`, each as a whole.

        Raises:
            UserError: a file cannot be written.
        """
        entries = json.dumps([asdict(sample) for sample in self.samples], indent=1)
        write_file(self._index, lambda file: file.write(entries.encode("utf-8")))
        log = read_record(self.run_dir / "log.jsonl")
        title = self.run_dir.resolve().name
        now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        left_out = (
            f"; {log.num_unreadable} unreadable lines of log.jsonl left out"
            if log.num_unreadable
            else ""
        )
        samples = "\n".join(_sample(sample) for sample in reversed(self.samples))
        body = (
            f"<header><h1>{text(title)}</h1>"
            f'<div class="soft number">written {now}{left_out}</div></header>\n<main>\n'
            f"{_alarms(log.alarms)}\n{charts('Losses', log.losses)}\n"
            f"{charts('Measures', log.measures)}\n<h2>Samples</h2>\n"
            f"{samples or '<p>None yet.</p>'}\n</main>"
        )
        write_page(self.run_dir / "index.html", title, RUN_STYLE, body)


def _cell(name: str, label: str, path: str | None) -> str:
    caption = f'<figcaption class="soft">{text(label)}</figcaption>'
    if path is None:
        return f'<figure><div class="missing soft">none</div>{caption}</figure>'
    return (
        f'<figure><a href="{url(path)}" data-label="{text(label)}"><img loading="lazy" '
        f'src="{url(path)}" alt="{text(label)} of {text(name)}"></a>{caption}</figure>'
    )


def article(
    name: str,
    images: Mapping[str, str],
    columns: Sequence[str],
    attributes: str = "",
    *,
    gaps: bool = True,
) -> str:
    """One input's pictures side by side, as the lightbox goes through them.

    Args:
        name: heading.
        images: {label: path relative to the page}.
        columns: labels in their order.
        attributes: of the element, escaped already, e.g. an id.
        gaps: whether the place of a label that it lacks stays empty.
    """
    cells = "".join(
        _cell(name, label, images.get(label)) for label in columns if label in images or gaps
    )
    return (
        f'<article class="card"{attributes}><h2>{text(name)}</h2>'
        f'<div class="cells">{cells}</div></article>'
    )


def write_test_gallery(
    path: Path,
    title: str,
    rows: Sequence[tuple[str, Mapping[str, str]]],
    columns: Sequence[str],
    figures: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a page that shows, per input, its images side by side with their labels underneath.

    A click enlarges an image; then left and right lead through the inputs, up and down through
    the labels, Esc back. A box filters the inputs by words in their names.

    Args:
        path: the page, e.g. `results/<run>/index.html`; replaced if it exists.
        title: heading of the page.
        rows: (input name, {label: image path relative to the page, with forward slashes}).
        columns: the labels in the order they are shown in; a row may lack some of them.
        figures: (title, image path relative to the page) of pictures over all inputs, shown first.

    Raises:
        UserError: the page cannot be written.
    """
    assert columns, "a gallery needs at least one column"
    unknown = {label for _, images in rows for label in images} - set(columns)
    assert not unknown, f"labels without a column: {sorted(unknown)}"
    above = "".join(
        f'<figure class="card figure"><figcaption>{text(caption)}</figcaption>'
        f'<a href="{url(picture)}"><img src="{url(picture)}" alt="{text(caption)}"></a></figure>\n'
        for caption, picture in figures
    )
    gaps = len(columns) <= MAX_ABREAST
    articles = "\n".join(article(name, images, columns, gaps=gaps) for name, images in rows)
    body = (
        f'<header class="bar"><h1>{text(title)}</h1>'
        f'<span class="soft number" id="count">{len(rows)}</span>'
        '<input type="search" id="filter" placeholder="Filter by name" aria-label="Filter by name">'
        f"</header>\n{above}"
        f'<main class="rows" style="--columns: {min(len(columns), MAX_ABREAST)}">\n'
        f"{articles or '<p>No images.</p>'}\n</main>\n{LIGHTBOX}<script>{SCRIPT}</script>"
    )
    write_page(path, title, TEST_STYLE, body)
