"""Translate an image, a folder or a data set's test split, and lay the results out as a gallery.

Labels and file names are the official test script's: `images/<stem>_real_A.png`, `_fake_B`,
`_rec_A`. Unlike there, an output has its input's size and values are rounded, not truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.data.addresses import is_address
from core.data.folders import (
    find_paired,
    find_single,
    find_unpaired,
    has_split,
    splits_present,
)
from core.data.inputs import Side, open_inputs
from core.data.names import distinct, printable, result_names
from core.data.picture import Picture
from core.data.transforms import for_testing, resize
from core.errors import UserError
from core.family import Layout
from core.inference.translator import Translator
from core.options import DataOptions, Direction, other_way
from core.report.gallery import write_test_gallery
from core.report.looks import Look
from core.report.results import save_picture
from core.runtime import distributed
from core.runtime.distributed import World


@dataclass(frozen=True)
class Job:
    """One input image."""

    path: Path
    name: str
    """Unique name of its outputs, without extension; may contain folders."""
    direction: Direction
    sides: tuple[Side, Side] | None = None
    """Input and truth where `data.a` and `data.b` name the data; then `path` names the input."""
    item: int = 0
    """Number of the image in these."""
    truth: Path | None = None
    """The true counterpart, where it is known; the same file as `path` if side by side."""


def find_jobs(
    path: Path,
    translator: Translator,
    direction: Direction | None,
    max_images: int | None,
    output: Path | None = None,
) -> list[Job]:
    """Find the inputs meant by a path, and which way each goes.

    Args:
        path: an image; a folder of images; or a data set: of `testA/` and `testB/` each domain
            goes in its own direction, of pairs (`test/` or `val/`) the input side with the other
            as the truth. Without a test split, the share that the training has kept for it.
        translator: whose directions and kind of data count.
        direction: the one asked for, or None: all for a data set, the first otherwise.
        max_images: at most so many per domain.
        output: the folder of results; what an earlier call has left there is no input.

    Raises:
        UserError: nothing there, a data set without test images, or `output` is the input itself.
    """
    if output is not None and path.is_dir() and output.resolve() == path.resolve():
        raise UserError(
            f"--output {output}: is the input folder, so results would become inputs; give another"
        )
    directions = translator.directions
    first = direction or directions[0]
    share = translator.family.config.data.val_fraction
    if translator.family.config.data.a and path.is_dir():
        jobs = _jobs_of_inputs(path, translator, direction, max_images)
        if jobs:
            return jobs
    if path.is_dir() and translator.family.layout == "paired" and _is_tested(path, True, share):
        pairs = find_paired(path, "test", max_images, share)
        inputs, truths = (pairs.a, pairs.b) if first == "AtoB" else (pairs.b, pairs.a)
        return _jobs(inputs, path, first, truths)
    if path.is_dir() and _is_tested(path, False, share):
        found = find_unpaired(path, "test", max_images, share)
        wanted = [d for d in directions if direction in (None, d)]
        return [job for d in wanted for job in _jobs(found.a if d == "AtoB" else found.b, path, d)]
    files = find_single(path, max_images, output)
    return _jobs(files, path if path.is_dir() else path.parent, first)


def _jobs_of_inputs(
    root: Path, translator: Translator, direction: Direction | None, max_images: int | None
) -> list[Job]:
    """Find the inputs where `data.a` and `data.b` name them below a root; none elsewhere."""
    data = translator.family.config.data.model_copy(
        update={"root": str(root), "max_images": max_images}
    )
    if not all(is_address(str(root), one.path) for one in (*data.a, *data.b)):
        return []
    paired = translator.family.layout == "paired"
    layout: Layout = "paired" if paired else "unpaired"
    sides = [
        side
        for opened in open_inputs(data, layout, "test", translator.channels("AtoB"))
        for side in opened.sides
    ]
    jobs = []
    for way in [d for d in translator.directions if direction in (None, d)]:
        source, target = sides if way == "AtoB" else sides[::-1]
        keys = [printable(source.key(i)) for i in range(len(source.items))]
        for i, name in enumerate(distinct(keys)):
            path = root / source.name(i)
            truth = root / target.name(i) if paired else None
            jobs.append(Job(path, name, way, (source, target), i, truth))
    return jobs


def _is_tested(root: Path, paired: bool, share: float) -> bool:
    """Tell whether a folder is a data set with test images, or a share of train kept for them.

    Raises:
        UserError: it is one without any.
    """
    there = splits_present(root, paired=paired)
    if not there or has_split(root, "test", paired=paired):
        return bool(there)
    if not share:
        what = "pairs" if paired else "two domains"
        raise UserError(
            f"{root}: holds {what} in train and no test split; make one with check_data.py "
            "--split 0.1, or give a folder of pictures to translate"
        )
    return True


def _jobs(
    files: Sequence[Path], root: Path, direction: Direction, truths: Sequence[Path | None] = ()
) -> list[Job]:
    names, truths = result_names(files, root), truths or [None] * len(files)
    return [
        Job(file, name, direction, truth=truth)
        for file, name, truth in zip(files, names, truths, strict=True)
    ]


@dataclass(frozen=True)
class Task:
    """What is made of each input: real, fake, and truth or reconstruction.

    Attributes:
        translator: what makes it.
        official: the training's data options, to resize inputs as the published test does; None
            takes them as they are.
        reconstruct: translate results back, where there is a way; it takes as long again.
    """

    translator: Translator
    official: DataOptions | None = None
    reconstruct: bool = False

    def labels(self, job: Job) -> tuple[str, str, str]:
        """Give real, fake, and truth or reconstruction their official names.

        As there, A and B are the model's: with `data.direction: BtoA` the data set's B is its A.
        """
        straight = job.direction == self.translator.family.config.data.direction
        a, b = ("A", "B") if straight else ("B", "A")
        return f"real_{a}", f"fake_{b}", f"rec_{a}" if job.truth is None else f"real_{b}"

    def outputs(self, job: Job) -> dict[str, str]:
        """Return {label: path relative to the output folder} of the pictures that `run` writes."""
        labels = self.labels(job)
        there_is_last = job.truth is not None or self._has_way_back(job)
        shown = labels if there_is_last else labels[:2]
        return {label: f"images/{job.name}_{label}.png" for label in shown}

    def run(self, job: Job, folder: Path) -> None:
        """Write one input's pictures.

        Raises:
            UserError: the input cannot be read or an output not written.
        """
        translator = self.translator
        real = self.read(job)
        fake = translator(real, job.direction)
        pictures = [real, fake]
        if job.truth is not None:
            pictures.append(self.read(job, job.truth))
        elif self._has_way_back(job):
            pictures.append(translator(fake, other_way(job.direction)))
        looks = self.look(job.direction), self.look(other_way(job.direction))
        domains = (0, 1, 1 if job.truth is not None else 0)
        for path, picture, domain in zip(
            self.outputs(job).values(), pictures, domains, strict=False
        ):
            save_picture(picture, folder / path, looks[domain])

    def look(self, direction: Direction) -> Look:
        """Return how a direction's inputs are seen."""
        config = self.translator.family.config
        return Look.of(config.data, "A" if direction == "AtoB" else "B", config.log.bands)

    def figure(
        self, direction: Direction, jobs: Sequence[Job], folder: Path
    ) -> tuple[str, str] | None:
        """Write a picture over all inputs of a direction, once these are done, if there is one.

        Returns its title and its path relative to the output folder.
        """
        return None

    def read(self, job: Job, truth: Path | None = None) -> Picture:
        """Open an input's picture, or its truth, resized as the published test does if asked to."""
        is_target = truth is not None
        if job.sides is not None:
            options = None if self.official is None else for_testing(self.official)
            return job.sides[is_target].read(job.item, options)
        picture = self.translator.read(truth or job.path, job.direction, target=is_target)
        if job.truth == job.path:  # side by side: A is the left half and B the right one
            is_a = (job.direction == "AtoB") != is_target
            picture = picture.halves()[0 if is_a else 1]
        if not is_target and picture.is_constant:
            tqdm.write(f"{picture.name}: all of one colour; what networks make of it is noise")
        if self.official is None:
            return picture
        channels = self.translator.channels(job.direction)[is_target]
        # The official test resizes every image to crop_size first; transparency goes with it.
        pixels = resize(picture.channels(channels), for_testing(self.official))
        colours, alpha = np.split(pixels, [3 if channels == 4 else channels], axis=2)
        return picture.with_pixels(colours, picture.levels, alpha if channels == 4 else None)

    def _has_way_back(self, job: Job) -> bool:
        return self.reconstruct and other_way(job.direction) in self.translator.directions


def translate_all(
    task: Task, jobs: Sequence[Job], folder: Path, title: str, world: World | None = None
) -> list[str]:
    """Do the task for every input, each process its share, and write `index.html`.

    An input that cannot be read is named and left out; the others are still translated.

    Returns one line per failure of this process.
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
            figures = [
                task.figure(direction, [job for job in done if job.direction == direction], folder)
                for direction in dict.fromkeys(job.direction for job in done)
            ]
            shown, origin = [figure for figure in figures if figure], task.translator.origin
            write_test_gallery(folder / "index.html", title, rows, origin, shown)
    return failures
