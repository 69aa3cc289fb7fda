"""Translate an image, a folder or a data set's test split, and lay the results out as a gallery.

Labels and file names are the official test script's: `images/<stem>_real_A.png`, `_fake_B`,
`_rec_A`. Unlike there, an output has its input's size and values are rounded, not truncated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from core import distributed
from core.data.folders import find_paired, find_single, find_unpaired, has_split
from core.data.images import as_array, open_image
from core.data.source import split_pair
from core.data.transforms import for_testing, resize
from core.distributed import World
from core.errors import UserError
from core.gallery import write_test_gallery
from core.inference import Translator
from core.options import DataOptions, Direction
from core.pictures import save_png


@dataclass(frozen=True)
class Job:
    """One input image."""

    path: Path
    name: str
    """Unique name of its outputs, without extension; may contain folders."""
    direction: Direction
    truth: Path | None = None
    """The true counterpart, where it is known; the same file as `path` if side by side."""


def _names(files: Sequence[Path], root: Path) -> list[str]:
    """Stems relative to `root`; with the extension where two files share a stem."""
    relative = [file.relative_to(root) if file.is_relative_to(root) else file for file in files]
    stems = [str(path.with_suffix("")) for path in relative]
    repeated = Counter(stems)
    return [
        f"{stem}_{path.suffix[1:]}" if repeated[stem] > 1 else stem
        for stem, path in zip(stems, relative, strict=True)
    ]


def _paired_jobs(path: Path, direction: Direction, max_images: int | None) -> list[Job]:
    found = find_paired(path, "test", max_images)
    inputs, truths = (found.a, found.b) if direction == "AtoB" else (found.b, found.a)
    return [
        Job(file, name, direction, truth)
        for file, truth, name in zip(inputs, truths, _names(inputs, path), strict=True)
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
            names = _names(files, path)
            jobs += [Job(file, name, d) for file, name in zip(files, names, strict=True)]
        return jobs
    single = find_single(path, max_images)
    root = path if path.is_dir() else path.parent
    return [
        Job(file, name, direction or directions[0])
        for file, name in zip(single.files, _names(single.files, root), strict=True)
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


def translate_job(
    translator: Translator, job: Job, folder: Path, official: DataOptions | None = None
) -> dict[str, str]:
    """Write one input's pictures.

    Returns:
        {label: path relative to `folder`}.

    Raises:
        UserError: the input cannot be read or the output not written.
    """
    channels = translator.channels(job.direction)
    # Of a side-by-side file, A is the left half and B the right one.
    left = job.direction == "AtoB"
    half, other = (int(not left), int(left)) if job.truth == job.path else (None, None)
    real = _read(job.path, channels[0], official, half)
    fake = translator(real, job.direction)
    pictures = [real, fake]
    back: Direction = "BtoA" if job.direction == "AtoB" else "AtoB"
    if job.truth is not None:
        pictures.append(_read(job.truth, channels[1], official, other))
    elif back in translator.directions:
        pictures.append(translator(fake.convert("RGB") if fake.mode == "RGBA" else fake, back))
    written = {}
    for label, picture in zip(labels(translator, job), pictures, strict=False):
        relative = f"images/{job.name}_{label}.png"
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        save_png(picture, folder / relative)
        written[label] = relative
    return written


def translate_all(
    translator: Translator,
    jobs: Sequence[Job],
    folder: Path,
    title: str,
    official: DataOptions | None = None,
    world: World | None = None,
) -> list[str]:
    """Translate every job, each process its share, and write `index.html`.

    An input that cannot be read is named and left out; the others are still translated.

    Returns:
        One line per failure of this process.
    """
    world = world or World()
    failures = []
    share = jobs[world.rank :: world.size]
    for job in tqdm(share, desc="translate", unit="image", disable=not world.is_main):
        try:
            translate_job(translator, job, folder, official)
        except UserError as error:
            failures.append(str(error))
            tqdm.write(f"left out: {error}")
    distributed.barrier()
    if world.is_main:
        rows = []
        for job in jobs:
            paths = {label: f"images/{job.name}_{label}.png" for label in labels(translator, job)}
            there = {label: path for label, path in paths.items() if (folder / path).is_file()}
            if there:
                rows.append((job.name, there))
        columns = list(dict.fromkeys(label for job in jobs for label in labels(translator, job)))
        shown = [label for label in columns if any(label in images for _, images in rows)]
        if shown:
            write_test_gallery(folder / "index.html", title, rows, shown)
    return failures
