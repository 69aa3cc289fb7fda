"""Write the page of a run and the page of a test: pictures in rows, losses, alarms."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from core.errors import UserError
from core.report.page import Picture, Row, find_picture, write_page
from core.report.plots import curves
from core.report.run_record import read_record
from core.runtime.files import write_file

MAX_ABREAST = 8
"""Pictures of one input beside each other at most; further ones begin a new line."""
FILM = "samples/samples.gif"
"""All sample grids of a run in one film, where there is one; relative to the run folder."""


@dataclass(frozen=True)
class Sample:
    """One sample grid of a run, as `samples/index.json` keeps it."""

    step: int
    path: str
    """Of the picture, relative to the run folder, with forward slashes."""
    time: str
    """Local time with UTC offset, ISO 8601, to the second."""
    width: int
    """Pixels; the page reserves the room before the picture is loaded."""
    height: int
    """Likewise."""

    @property
    def row(self) -> Row:
        """The grid as the page shows it."""
        picture = Picture(self.path, self.width, self.height)
        time = self.time[:16].replace("T", " ")
        return Row(
            f"Step {self.step:,}", {"samples": picture}, f"step-{self.step}", "samples", time
        )


class RunGallery:
    """The page `index.html` of a run folder: progress, losses, alarms, sample grids, newest first.

    It reads `log.jsonl` (see `core.report.run_record`). Where `step` falls back, because the run
    was resumed, the lines it overtakes are left out. The grids are listed in `samples/index.json`,
    which a resumed run takes up again. One process writes the page.
    """

    def __init__(self, run_dir: Path) -> None:
        """Take up the list of grids in `run_dir`, or begin one; a damaged list is refused."""
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
        """List a sample grid, a written file below the run folder; `write` shows it.

        A grid listed for the same step before is replaced. An unreadable picture is refused.
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

    def resume(self, step: int) -> None:
        """Forget the grids drawn after `step`, from which training goes on, and write the page."""
        self.samples = [sample for sample in self.samples if sample.step <= step]
        self.write()

    def write(self) -> None:
        """Rewrite `samples/index.json` and `index.html`, each as a whole."""
        entries = json.dumps([asdict(sample) for sample in self.samples], indent=1)
        write_file(self._index, lambda file: file.write(entries.encode("utf-8")))
        record = read_record(self.run_dir / "log.jsonl")
        write_page(
            self.run_dir / "index.html",
            "run.html",
            self.run_dir.resolve().name,
            record=record,
            plots={"Losses": record.losses, "Measures": record.measures},
            curves=curves,
            rows=[sample.row for sample in reversed(self.samples)],
            film=find_picture(self.run_dir, FILM) if (self.run_dir / FILM).exists() else None,
            has_config=(self.run_dir / "config.yaml").exists(),
        )


def write_test_gallery(
    path: Path,
    title: str,
    rows: Sequence[tuple[str, Mapping[str, str | None]]],
    origin: str = "",
    figures: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a page that shows, per input, its images side by side with their labels underneath.

    A click enlarges an image; then left and right lead through the inputs, up and down through the
    labels, Esc back. A box filters the inputs by words in their names.

    Args:
        path: the page, e.g. `results/<run>/index.html`; replaced if it exists.
        title: heading of the page.
        rows: (input name, {label: image path relative to the page, with forward slashes}); None for
            an image that is missing.
        origin: what made the images: the checkpoint and its step.
        figures: (title, image path relative to the page) of pictures over all inputs, shown first.
    """
    folder = path.parent
    shown = [
        Row(name, {label: find_picture(folder, at) for label, at in images.items()})
        for name, images in rows
    ]
    columns = max((len(row.pictures) for row in shown), default=1)
    write_page(
        path,
        "gallery.html",
        title,
        origin=origin,
        figures=[(caption, find_picture(folder, at)) for caption, at in figures],
        rows=shown,
        columns=min(columns, MAX_ABREAST),
    )
