"""Draw a comparison: every picture as a file, sheets of one input, grids of one method."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from core.compare.config import RESERVED, Show, slug
from core.compare.entries import Method
from core.errors import UserError
from core.evaluation.image_set import EvaluationSet
from core.family import to_float
from core.inference.translator import Translator
from core.options import Direction
from core.report.pictures import save_png, sheet, shown, to_pil

DIRECTIONS: tuple[Direction, ...] = ("AtoB", "BtoA")
INPUT, EXAMPLE, TRUTH, RECONSTRUCTION = RESERVED


@dataclass
class Row:
    """Pictures of one input."""

    direction: Direction
    number: int
    """Among the inputs of its direction, from 0."""
    name: str
    """File of the data set."""
    anchor: str
    """Its address on the page."""
    images: dict[str, str] = field(default_factory=dict)
    """{label: path relative to the report}; the labels are `INPUT`, `EXAMPLE`, names of methods,
    names with what is reconstructed, `TRUTH`."""


@dataclass
class Drawing:
    """Everything that was drawn."""

    rows: list[Row] = field(default_factory=list)
    """Input by input, direction by direction."""
    grids: dict[Direction, dict[str, str]] = field(default_factory=dict)
    """{direction: {method: path relative to the report}}."""

    def columns(self, direction: Direction, names: Sequence[str]) -> list[str]:
        """Return the labels of a direction in order, with a place for every method of `names`."""
        found = dict.fromkeys(
            label for row in self.rows if row.direction == direction for label in row.images
        )
        before = [label for label in (INPUT, EXAMPLE) if label in found]
        return list(dict.fromkeys([*before, *names, *found]))


def reconstruction_label(method: Method) -> str:
    """Return `MUNIT: own style`, or `CycleGAN: there and back`; empty where there is none."""
    label = method.translator.reconstruction if method.translator else ""
    return f"{method.name}: {label}" if label else ""


class Drawer:
    """Draws the methods of a comparison on its first test images, into the report's `folder`."""

    def __init__(self, test_set: EvaluationSet, show: Show, folder: Path) -> None:
        self._set, self._show, self._folder = test_set, show, folder

    def draw(self, methods: Sequence[Method]) -> Drawing:
        """Write all pictures; what a method cannot do is added to its problems."""
        drawing = Drawing()
        for direction in DIRECTIONS:
            able = [m for m in methods if m.translator and direction in m.translator.directions]
            if not able:
                continue
            rows = self._inputs(direction, any(m.kind != "translator" for m in able))
            drawing.grids[direction] = {}
            for method in tqdm(able, f"pictures {direction}", unit="method", disable=None):
                try:
                    path = self._draw_method(method, direction, rows)
                except UserError as error:
                    method.problems.append(f"not drawn {direction}: {error}")
                else:
                    drawing.grids[direction][method.name] = path
            for row in rows:
                self._finish(row, able)
            drawing.rows += rows
        return drawing

    def _examples(self, direction: Direction) -> list[Tensor]:
        reals = self._set.reals(direction)
        return [to_float(reals.read(k)) for k in range(min(self._show.num_examples, len(reals)))]

    def _inputs(self, direction: Direction, with_example: bool) -> list[Row]:
        """Write the inputs, the style example where a method takes one, the truth if known."""
        inputs, truths, rows = self._set.inputs[direction], self._set.truths.get(direction), []
        for i in range(min(self._show.num_images, len(inputs))):
            name = inputs.name(i)
            row = Row(direction, i, name, f"{direction}-{i:02d}-{slug(Path(name).stem)}")
            shown = {INPUT: inputs.read(i)}
            if with_example:
                shown[EXAMPLE] = self._set.reals(direction).read(0)
            if truths is not None:
                shown[TRUTH] = truths.read(i)
            row.images = {label: self._write(row, label, image) for label, image in shown.items()}
            rows.append(row)
        return rows

    def _write(self, row: Row, stem: str, image: Tensor) -> str:
        path = f"images/{row.anchor}/{stem}.png"
        save_png(to_pil(shown(image)), self._folder / path)
        return path

    def _draw_method(self, method: Method, direction: Direction, rows: Sequence[Row]) -> str:
        """Draw one method; return its grid, contents down, styles or stages across."""
        examples = self._examples(direction) if method.kind != "translator" else []
        inputs = self._set.inputs[direction]
        lines: list[list[Image.Image | Path | None]] = []
        header: list[str] = []
        for row in rows:
            files = {INPUT: row.images[INPUT]}
            image = to_float(inputs.read(row.number))
            for place, (label, made) in enumerate(
                self._columns(method, row.number, image, direction, examples).items()
            ):
                # With a dot, which no name of a method brings along.
                stem = f"{method.slug}.{slug(label)}" if place else method.slug
                files[label] = self._write(row, stem, made)
                if place == 0:
                    row.images[method.name] = files[label]
                elif label == RECONSTRUCTION:
                    row.images[reconstruction_label(method)] = files[label]
            if TRUTH in row.images:
                files[TRUTH] = row.images[TRUTH]
            header = list(files)
            lines.append([self._folder / path for path in files.values()])
        if examples:
            lines.insert(0, [None, *map(to_pil, examples)])
        path = f"grids/{direction}_{method.slug}.png"
        save_png(sheet(lines, header), self._folder / path)
        return path

    def _columns(
        self,
        method: Method,
        number: int,
        image: Tensor,
        direction: Direction,
        examples: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Return {label: picture} of one input; the first is what stands for the method."""
        translator = method.translator
        assert translator is not None, "of methods that are there"
        made: dict[str, Tensor] = {}
        for k, example in enumerate(examples, start=1):
            made[f"example {k}"] = translator.in_style_of(image, example, direction)
        if method.kind == "translator":
            (made["translation"],) = translator.translations(image, direction, 1, seed=number)
        elif method.kind == "styles" and self._show.num_random:
            # Of one seed: the same styles for every input.
            drawn = translator.translations(image, direction, self._show.num_random, seed=0)
            made |= {f"random {k}": picture for k, picture in enumerate(drawn, start=1)}
        if isinstance(translator, Translator) and translator.reconstruction:
            made[RECONSTRUCTION] = translator.reconstruct(image[None], direction)[0]
        return made

    def _finish(self, row: Row, methods: Sequence[Method]) -> None:
        """Put the labels in their order, and draw the sheet."""
        order = [INPUT, EXAMPLE, *(m.name for m in methods), TRUTH]
        order += [reconstruction_label(m) for m in methods]
        row.images = {label: row.images[label] for label in order if label in row.images}
        files = [self._folder / path for path in row.images.values()]
        picture = sheet([files], list(row.images))
        save_png(picture, self._folder / "sheets" / f"{row.anchor}.png")


def overview(
    drawing: Drawing, methods: Sequence[Method], folder: Path, num_rows: int = 2
) -> Image.Image | None:
    """Lay out the first inputs of each direction in one picture; None if nothing was drawn."""
    names = [INPUT, EXAMPLE, *(m.name for m in methods if m.translator), TRUTH]
    rows: list[Row] = []
    for direction in DIRECTIONS:
        rows += [row for row in drawing.rows if row.direction == direction][:num_rows]
    labels = [name for name in names if any(name in row.images for row in rows)]
    files = [
        [folder / row.images[label] if label in row.images else None for label in labels]
        for row in rows
    ]
    return sheet(files, labels) if rows else None
