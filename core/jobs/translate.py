"""Translate an image, a folder or a data set's test split, and lay the results out as a gallery.

Labels and file names are the official test script's: `images/<stem>_real_A.png`, `_fake_B`,
`_rec_A`. Unlike there, an output has its input's size and values are rounded, not truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image
from tqdm import tqdm

from core.data.folders import find_paired, find_single, find_unpaired, has_split
from core.data.images import as_array, open_image
from core.data.names import unique_stems
from core.data.source import split_pair
from core.data.transforms import for_testing, resize
from core.errors import UserError
from core.inference.translator import Translator
from core.options import DataOptions, Direction, other_way
from core.report.gallery import write_test_gallery
from core.report.pictures import save_png
from core.runtime import distributed
from core.runtime.distributed import World


@dataclass(frozen=True)
class Job:
    """One input image."""

    path: Path
    name: str
    """Unique name of its outputs, without extension; may contain folders."""
    direction: Direction
    truth: Path | None = None
    """The true counterpart, where it is known; the same file as `path` if side by side."""


def _paired_jobs(path: Path, direction: Direction, max_images: int | None) -> list[Job]:
    found = find_paired(path, "test", max_images)
    inputs, truths = (found.a, found.b) if direction == "AtoB" else (found.b, found.a)
    return [
        Job(file, name, direction, truth)
        for file, truth, name in zip(inputs, truths, unique_stems(inputs, path), strict=True)
    ]


def find_jobs(
    path: Path, translator: Translator, direction: Direction | None, max_images: int | None
) -> list[Job]:
    """The inputs meant by `path`.

    Args:
        path: an image; a folder of images; or a data set: of `testA/` and `testB/` each domain
            goes in its own direction, of pairs (`test/` or `val/`) the input side with the other
            as the truth.
        translator: whose directions and kind of data count.
        direction: the one asked for, or None: all for a data set, the first otherwise.
        max_images: at most so many per domain.

    Raises:
        UserError: nothing there.
    """
    directions = translator.directions
    if (
        translator.family.layout == "paired"
        and path.is_dir()
        and has_split(path, "test", paired=True)
    ):
        return _paired_jobs(path, direction or directions[0], max_images)
    if path.is_dir() and has_split(path, "test", paired=False):
        found = find_unpaired(path, "test", max_images)
        wanted = [d for d in directions if direction in (None, d)]
        jobs = []
        for d in wanted:
            files = found.a if d == "AtoB" else found.b
            names = unique_stems(files, path)
            jobs += [Job(file, name, d) for file, name in zip(files, names, strict=True)]
        return jobs
    files = find_single(path, max_images)
    root = path if path.is_dir() else path.parent
    return [
        Job(file, name, direction or directions[0])
        for file, name in zip(files, unique_stems(files, root), strict=True)
    ]


def labels(translator: Translator, job: Job) -> tuple[str, str, str]:
    """Real, fake, and truth or reconstruction, under their official names.

    As there, A and B are the model's: with `data.direction: BtoA` the data set's B is its A.
    """
    straight = job.direction == translator.family.config.data.direction
    a, b = ("A", "B") if straight else ("B", "A")
    return f"real_{a}", f"fake_{b}", f"rec_{a}" if job.truth is None else f"real_{b}"


def _read(
    path: Path, channels: int, official: DataOptions | None, half: int | None = None
) -> Image.Image:
    image = open_image(path)
    if half is not None:
        image = split_pair(image, path)[half]
    if official is None:
        return image
    # The official test resizes every image to crop_size first; transparency goes with it.
    pixels = resize(as_array(image, channels), for_testing(official))
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


class Task(Protocol):
    """What is made of each input."""

    @property
    def translator(self) -> Translator:
        """What makes it."""

    def outputs(self, job: Job) -> dict[str, str]:
        """{label: path relative to the output folder} of the pictures that `run` writes."""

    def run(self, job: Job, folder: Path) -> None:
        """Write one input's pictures.

        Raises:
            UserError: the input cannot be read or an output not written.
        """

    def figures(self, jobs: Sequence[Job], folder: Path) -> list[tuple[str, str]]:
        """Write pictures over all inputs, once these are done: (title, relative path) of each."""


@dataclass(frozen=True)
class Plain:
    """Real, fake, and truth or reconstruction of each input.

    Attributes:
        translator: what translates.
        official: the training's data options, to resize inputs as the published test does; None
            takes them as they are.
    """

    translator: Translator
    official: DataOptions | None = None

    def outputs(self, job: Job) -> dict[str, str]:
        """See `Task.outputs`."""
        real, fake, last = labels(self.translator, job)
        there_is_last = job.truth is not None or self._has_way_back(job)
        shown = (real, fake, last) if there_is_last else (real, fake)
        return {label: f"images/{job.name}_{label}.png" for label in shown}

    def run(self, job: Job, folder: Path) -> None:
        """See `Task.run`."""
        translator = self.translator
        real = read_input(translator, job, self.official)
        fake = translator(real, job.direction)
        pictures = [real, fake]
        if job.truth is not None:
            pictures.append(self._read_truth(job, job.truth))
        elif self._has_way_back(job):
            opaque = fake.convert("RGB") if fake.mode == "RGBA" else fake
            pictures.append(translator(opaque, other_way(job.direction)))
        for path, picture in zip(self.outputs(job).values(), pictures, strict=True):
            save_png(picture, folder / path)

    def _has_way_back(self, job: Job) -> bool:
        return other_way(job.direction) in self.translator.directions

    def _read_truth(self, job: Job, truth: Path) -> Image.Image:
        channels = self.translator.channels(job.direction)[1]
        half = _half(other_way(job.direction)) if truth == job.path else None
        return _read(truth, channels, self.official, half)

    def figures(self, jobs: Sequence[Job], folder: Path) -> list[tuple[str, str]]:
        """None: the page shows everything."""
        return []


def _half(direction: Direction) -> int:
    """Of a side-by-side file, A is the left half and B the right one."""
    return 0 if direction == "AtoB" else 1


def read_input(translator: Translator, job: Job, official: DataOptions | None) -> Image.Image:
    """An input's picture, resized as the published test does if `official` is given."""
    half = _half(job.direction) if job.truth == job.path else None
    return _read(job.path, translator.channels(job.direction)[0], official, half)


def translate_all(
    task: Task, jobs: Sequence[Job], folder: Path, title: str, world: World | None = None
) -> list[str]:
    """Do the task for every input, each process its share, and write `index.html`.

    An input that cannot be read is named and left out; the others are still translated.

    Returns:
        One line per failure of this process.
    """
    world = world or World()
    failures = []
    share = jobs[world.rank :: world.size]
    for job in tqdm(share, desc="translate", unit="image", disable=not world.is_main):
        try:
            task.run(job, folder)
        except UserError as error:
            failures.append(str(error))
            tqdm.write(f"left out: {error}")
    distributed.barrier()
    if world.is_main:
        rows: list[tuple[str, dict[str, str | None]]] = []
        done = []
        for job in jobs:
            paths = task.outputs(job)
            there = {at: path if (folder / path).is_file() else None for at, path in paths.items()}
            if any(there.values()):
                rows.append((job.name, there))
                done.append(job)
        if done:
            figures, origin = task.figures(done, folder), task.translator.origin
            write_test_gallery(folder / "index.html", title, rows, origin, figures)
    return failures
