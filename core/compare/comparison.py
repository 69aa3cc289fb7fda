"""Prepare every entry of a comparison, measure, draw, and write the report."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

from core.compare.config import Config
from core.compare.cost import measure_cost
from core.compare.drawing import Drawer, Drawing, overview
from core.compare.entries import Method, Stylizers, prepare
from core.compare.folder_method import FolderMethod
from core.compare.report import write_report
from core.compare.tables import csv_text, directions, markdown, tree
from core.errors import UserError
from core.evaluation.image_set import EvaluationSet, as_they_are, evaluation_set
from core.evaluation.model import Evaluator
from core.family import FamilyTable
from core.options import DataOptions, EvaluateOptions
from core.procedural.sets import make_seasons
from core.runtime.files import write_file
from core.training.benchmark import machine

_DEFAULT_SIZE = 256
"""Side in pixels of the images that are timed, where images are taken as they are."""
_OPEN, _CLOSE = "<!-- compare -->", "<!-- /compare -->"
PICTURE = Path("docs") / "images" / "compare.jpg"
"""The overview in a README, relative to its folder."""


def find_test_set(config: Config) -> EvaluationSet:
    """Find the images that every entry gets; draw them first if they are procedural.

    All are read once: what is wrong is said now rather than after the trainings.
    """
    data = config.data
    if data.seasons is not None and data.size is not None:
        make_seasons(data.root, layout="unpaired", size=data.size, **data.seasons.model_dump())
    if data.size is None:
        options = as_they_are(DataOptions(root=data.root, flip=False))
    else:
        options = DataOptions(root=data.root, flip=False, load_size=data.size, crop_size=data.size)
    found = evaluation_set(Path(data.root), (3, 3), options, data.max_images)
    for pictures in (*found.inputs.values(), *found.truths.values()):
        for i in range(len(pictures)):
            pictures.read(i)
    return found


def _measure(method: Method, config: Config, test_set: EvaluationSet) -> None:
    """Add cost and quality to a loaded method; what fails is added to its problems."""
    if method.translator is None:
        return
    if method.source is not None and not isinstance(method.translator, FolderMethod):
        sizes = config.inference.sizes or (config.data.size or _DEFAULT_SIZE,)
        repeats = config.inference.repeats
        method.cost, problems = measure_cost(method.source, method.translator, sizes, repeats)
        method.problems += problems
    options = EvaluateOptions(**config.evaluate.model_dump())
    try:
        method.evaluation = Evaluator(method.translator, test_set, options)()
    except (UserError, torch.cuda.OutOfMemoryError) as error:
        method.problems.append(f"not measured: {' '.join(str(error).split())}")


def _too_near(methods: Sequence[Method]) -> list[str]:
    """Say where FIDs are nearer to each other than so few images allow to tell."""
    notes = []
    for direction in directions(methods):
        fids = sorted(
            (measure.value, measure.bias)
            for m in methods
            if m.evaluation and direction in m.evaluation.directions
            for name, measure in m.evaluation.directions[direction].measures.items()
            if name.startswith("fid") and measure.bias is not None
        )
        bias = max((bias for _, bias in fids), default=0.0)
        if any(b - a < bias for (a, _), (b, _) in pairwise(fids)):
            notes.append(
                f"{direction}: so few images raise FID by about {bias:.1f}, and some methods are "
                "nearer to each other than that; read KID and its interval instead"
            )
    return notes


def _notes(methods: Sequence[Method], test_set: EvaluationSet) -> list[str]:
    """Collect what a reader of the measures should know, each note once."""
    found = [note for m in methods if m.evaluation for note in m.evaluation.notes]
    found += _too_near(methods)
    if test_set.truths:
        found.append(
            "PSNR and SSIM are taken against the true counterpart of each image; methods with "
            "styles are given the truth's own style"
        )
    if {"styles", "style method"} & {m.kind for m in methods}:
        found.append(
            "diversity is over random styles; of a style method, over examples of the target domain"
        )
    if "cpu" in [m.translator.device.type for m in methods if m.translator]:
        found.append(
            "peak memory on a CPU: of a training all that its process held, Python and torch "
            "included; of an image what was held beyond that"
        )
    return list(dict.fromkeys(found))


def compare(
    config: Config, folder: Path, families: FamilyTable, stylizers: Stylizers, device: str = "auto"
) -> tuple[list[Method], Drawing]:
    """Prepare, measure and draw every entry, write the report into `folder`, return what was found.

    Files of an earlier report are replaced. `device` is `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: no test images, or no entry works.
        KeyboardInterrupt: a training was stopped; the same call goes on with it.
    """
    test_set = find_test_set(config)
    methods = []
    for entry in config.entries:
        print(f"-- {entry.name}", flush=True)
        method = prepare(entry, config, test_set, families, stylizers, device)
        for problem in method.problems:
            print(f"{entry.name}: {problem}", flush=True)
        methods.append(method)
    if not any(method.translator for method in methods):
        first = next((method for method in methods if method.problems), None)
        if first is None:
            raise UserError("entries: published figures alone; add something to compare with them")
        raise UserError(f"no entry can be compared; {first.name}: {first.problems[0]}")
    for method in methods:
        _measure(method, config, test_set)
    drawing = Drawer(test_set, config.show, folder).draw(methods)
    size = f"{config.data.size} px" if config.data.size else "as they are"
    computer = machine(torch.device("cpu"))
    summary = (
        f"{len(methods)} methods on {' + '.join(str(len(p)) for p in test_set.inputs.values())} "
        f"test images of "
        f"{config.data.root}, {size}. {computer['machine']}, torch {computer['torch']}."
    )
    _write(config, folder, summary, methods, drawing, _notes(methods, test_set))
    return methods, drawing


def _write(
    config: Config,
    folder: Path,
    summary: str,
    methods: Sequence[Method],
    drawing: Drawing,
    notes: Sequence[str],
) -> None:
    """Write the page, the tables, and the overview of all methods."""
    record = {
        "name": config.name,
        "summary": summary,
        "methods": tree(methods),
        "notes": notes,
        "config": config.model_dump(mode="json"),
    }
    numbers = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write_text(folder / "comparison.json", numbers)
    _write_text(folder / "table.csv", csv_text(methods))
    _write_text(folder / "table.md", markdown(methods, notes))
    picture = overview(drawing, methods, folder)
    if picture is not None:
        write_file(folder / "compare.jpg", lambda file: picture.save(file, "JPEG", quality=88))
    write_report(folder / "index.html", config.name, summary, methods, drawing, notes)


def _write_text(path: Path, text: str) -> None:
    # A file name that is no valid Unicode shows a question mark.
    write_file(path, lambda file: file.write(text.encode("utf-8", "replace")))


def update_readme(readme: Path, folder: Path, methods: Sequence[Method], command: str) -> None:
    """Put tables and picture of the report in `folder` between the two marks of a README.

    `command` is how this can be made again. A README without the marks is refused.
    """
    try:
        old = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--readme {readme}: cannot be read ({error})") from None
    before, opened, rest = old.partition(_OPEN)
    _, closed, after = rest.partition(_CLOSE)
    if not opened or not closed:
        raise UserError(f"--readme {readme}: has no {_OPEN} ... {_CLOSE} to write between")
    picture = folder / "compare.jpg"
    if picture.is_file():
        write_file(readme.parent / PICTURE, lambda file: file.write(picture.read_bytes()))
    new = (
        f"{before}{_OPEN}\n![Inputs down, methods across]({PICTURE.as_posix()})\n\n"
        f"*Written by `{command.replace('`', '')}`. Inputs down, methods across.*\n\n"
        f"{markdown(methods, [])}{_CLOSE}{after}"
    )
    _write_text(readme, new)
