"""Many translations of each input: random styles, example-guided ones, and ways between two.

Codes are written beside the pictures as `styles/*.npy`, to be given back with `--style`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import torch
from torch import Tensor

from core.data.images import open_image
from core.errors import UserError
from core.inference.latent import lerp, save_numbers
from core.inference.styles import StyleSet, drawn, given, one, seed_of, states_domains
from core.inference.translator import Translator
from core.jobs.translate import Job, Task
from core.options import DataOptions, Direction, other_way
from core.report.pictures import save_gif, save_png, scaled, sheet, strip, table
from core.report.results import save_picture

NUM_STYLES = 5
"""Random styles of each input where nothing is asked for."""
GRID_SIDE = 16
"""Rows and columns of a grid at most; the page shows everything."""
ROW_HEIGHT = 128
"""Pixels; of a strip among others."""
FRAME_MILLISECONDS = 80


@dataclass(frozen=True, kw_only=True)
class InStyles(Task):
    """Every input in several styles, and a grid of contents (down) and styles (across).

    Attributes:
        common: per direction the styles for all inputs; none for random styles of each input.
        num_styles: random styles of each input, where there are no common ones.
        seed: of the random ones; an input's styles follow from it and the input's name.
    """

    common: Mapping[Direction, StyleSet]
    num_styles: int
    seed: int

    def _names(self, job: Job) -> Sequence[str]:
        common = self.common.get(job.direction)
        return common.names if common else [f"style_{i:02d}" for i in range(self.num_styles)]

    def outputs(self, job: Job) -> dict[str, str]:
        """See `Task.outputs`."""
        real, fake, _ = self.labels(job)
        shown = [real, *(f"{fake}_{name}" for name in self._names(job))]
        return {label: f"images/{job.name}_{label}.png" for label in shown}

    def run(self, job: Job, folder: Path) -> None:
        """See `Task.run`."""
        styles = self.common.get(job.direction)
        if styles is None:
            # Of its own name, so that neither other inputs nor the number of processes matter.
            styles = drawn(self.translator, self.num_styles, seed_of(job.name, self.seed))
            save_numbers(styles.codes, folder / "styles" / f"{job.name}.npy")
        real = self.read(job)
        fakes = self.translator.in_styles(real, styles.codes, job.direction)
        looks = self.look(job.direction), self.look(other_way(job.direction))
        for path, picture in zip(self.outputs(job).values(), [real, *fakes], strict=True):
            save_picture(picture, folder / path, looks[picture is not real])

    def figure(self, direction: Direction, jobs: Sequence[Job], folder: Path) -> tuple[str, str]:
        """Write a grid of the inputs and their translations, and codes that are common to them."""
        rows: list[list[Path | None]] = [
            [folder / path for path in [*self.outputs(job).values()][: GRID_SIDE + 1]]
            for job in jobs[:GRID_SIDE]
        ]
        if styles := self.common.get(direction):
            save_numbers(styles.codes, folder / "styles" / f"{direction}.npy")
            if any(styles.pictures):
                rows.insert(0, [None, *styles.pictures[:GRID_SIDE]])
        path = f"grid_{direction}.png"
        save_png(sheet(rows), folder / path)
        return f"{direction}: inputs down, styles across", path


@dataclass(frozen=True, kw_only=True)
class Between(Task):
    """Each input on the way from one style to another, as a strip and a GIF.

    Codes are mixed linearly, as the papers do: the prior is a Gaussian around zero and nearby
    codes mean nearby styles.

    Attributes:
        ends: per direction the first and the last code, [2, style_dim].
        num_frames: codes on the way, both ends included; at least 2.
    """

    ends: Mapping[Direction, Tensor]
    num_frames: int

    def outputs(self, job: Job) -> dict[str, str]:
        """See `Task.outputs`."""
        real, fake, _ = self.labels(job)
        stem = f"images/{job.name}_"
        return {
            real: f"{stem}{real}.png",
            f"{fake}_interpolation": f"{stem}{fake}_interpolation.gif",
            f"{fake}_strip": f"{stem}{fake}_strip.png",
        }

    def codes(self, direction: Direction) -> Tensor:
        """Return the codes on the way, [num_frames, style_dim]."""
        first, last = self.ends[direction]
        return lerp(first, last, torch.linspace(0, 1, self.num_frames))

    def run(self, job: Job, folder: Path) -> None:
        """See `Task.run`."""
        real = self.read(job)
        results = self.translator.in_styles(real, self.codes(job.direction), job.direction)
        picture, gif, row = (folder / path for path in self.outputs(job).values())
        save_picture(real, picture)
        frames = [result.to_pil() for result in results]
        save_gif([*frames, *frames[-2:0:-1]], gif, FRAME_MILLISECONDS)
        save_png(strip(frames), row)

    def figure(self, direction: Direction, jobs: Sequence[Job], folder: Path) -> tuple[str, str]:
        """Write the strips, one below the other, and the codes."""
        save_numbers(self.codes(direction), folder / "styles" / f"{direction}.npy")
        rows = []
        for job in jobs[:GRID_SIDE]:
            real, _, row = (folder / path for path in self.outputs(job).values())
            pictures = [open_image(path) for path in (real, row)]
            rows.append([scaled(picture, ROW_HEIGHT / picture.height) for picture in pictures])
        path = f"interpolation_{direction}.png"
        save_png(table(rows), folder / path)
        return f"{direction}: from the first style to the last", path


def choose_task(
    translator: Translator,
    jobs: Sequence[Job],
    official: DataOptions | None = None,
    *,
    num_styles: int | None = None,
    synchronized: bool = False,
    examples: Sequence[Path] | None = None,
    ends: Sequence[str] | None = None,
    num_frames: int = 16,
    seed: int = 0,
    max_images: int | None = None,
    reconstruct: bool = False,
) -> Task:
    """Choose what to make of each input; `official` and `reconstruct` are as in `Task`.

    There are `num_styles` random styles (`NUM_STYLES` if None), for each input or `synchronized`,
    the same for all; or those of `examples` (`core.inference.styles.given`), of folders at most
    `max_images`; or `num_frames` on the way between two `ends` (`core.inference.styles.one`).

    Raises:
        UserError: options that exclude each other, styles of a checkpoint without any, or a style
            of which it is not clear which domain it belongs to.
    """
    names = ("--num-styles", "--synchronized", "--style", "--interpolate")
    asked = (num_styles is not None, synchronized, examples is not None, ends is not None)
    options = list(compress(names, asked))
    if not translator.has_styles:
        if options:
            translator.require_styles(f"{options[0]}: ")
        if reconstruct and len(translator.directions) < 2:
            raise UserError("--reconstruct: this checkpoint translates one way and not back")
        return Task(translator, official, reconstruct)
    if reconstruct:
        raise UserError("--reconstruct: a content comes back in its own style; give it as --style")
    if len(options) > 1 and options != ["--num-styles", "--synchronized"]:
        raise UserError("give one of --num-styles (with --synchronized), --style and --interpolate")
    num_styles = num_styles or NUM_STYLES
    directions = list(dict.fromkeys(job.direction for job in jobs))
    if ends is not None:
        _require_one_domain("--interpolate", directions)
        codes = {d: torch.cat([one(translator, end, d).codes for end in ends]) for d in directions}
        return Between(translator, official, ends=codes, num_frames=num_frames)
    common: dict[Direction, StyleSet] = {}
    if examples is not None:
        if not all(states_domains(path) for path in examples):
            _require_one_domain("--style", directions)
        common = {d: given(translator, examples, d, max_images) for d in directions}
    elif synchronized:
        common = {d: drawn(translator, num_styles, seed) for d in directions}
    return InStyles(translator, official, common=common, num_styles=num_styles, seed=seed)


def _require_one_domain(option: str, directions: Sequence[Direction]) -> None:
    if len(directions) > 1:
        raise UserError(
            f"{option}: the input has images of both domains, and a style belongs to one; add "
            "--direction, or give a data set with testA/ and testB/ as --style"
        )
