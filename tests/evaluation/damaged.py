"""Sets of translations that are wrong in one known way each, and what the measures say of them.

`python -m tests.evaluation.damaged FOLDER` writes the sets, the table and the picture of
docs/metrics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from core.evaluation.folders import evaluate_folders
from core.evaluation.scores import Measure
from core.options import EvaluateOptions
from core.procedural.scene import draw_scene
from core.procedural.seasons import render
from core.report.pictures import sheet

Pictures = NDArray[np.uint8]
"""[N, S, S, 3]."""

DAMAGES: dict[str, Callable[[Pictures, Pictures], Pictures]] = {
    "honest": lambda made, real: made,
    "collapsed": lambda made, real: made[np.arange(len(made)) % 4],
    "copied": lambda made, real: real[: len(made)],
    "inverted": lambda made, real: 255 - made,
    "blurred": lambda made, real: np.stack([_blurred(picture) for picture in made]),
    "shifted": lambda made, real: np.roll(made, made.shape[1] // 8, axis=2),
}
"""What is done to winters that are true to their summers, and have a style of their own."""


KEPT = ("edge_correlation", "color_inversion", "structure_distance")


def _blurred(picture: Pictures) -> Pictures:
    small = Image.fromarray(picture).resize([side // 2 for side in picture.shape[:2]], Image.BOX)
    return np.asarray(small.resize(picture.shape[:2], Image.BILINEAR))


def winters(first: int, number: int, size: int, *, other_style: bool = False) -> Pictures:
    scenes = [draw_scene((7, first + i)) for i in range(number)]
    styles = [draw_scene((8, first + i)).style if other_style else None for i in range(number)]
    pairs = zip(scenes, styles, strict=True)
    return np.stack([render(scene, "winter", size, style) for scene, style in pairs])


def write(folder: Path, pictures: Pictures) -> None:
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i:04}.png")


def write_sets(root: Path, number: int, size: int) -> None:
    """`source`, `truth`, `real` (other scenes), and a folder for each damage."""
    scenes = [draw_scene((7, i)) for i in range(number)]
    write(root / "source", np.stack([render(scene, "summer", size) for scene in scenes]))
    write(root / "truth", winters(0, number, size))
    real = winters(number, number, size)
    write(root / "real", real)
    made = winters(0, number, size, other_style=True)
    for name, damage in DAMAGES.items():
        write(root / name, damage(made, real))


def measured(root: Path, name: str) -> dict[str, Measure]:
    """What is measured of a set, with features that need no download."""
    options = EvaluateOptions(features="student", cache="", weights=str(root))
    device = torch.device("cpu")
    sets = evaluate_folders(root / name, options, device, real=root / "real")
    pairs = evaluate_folders(
        root / name, options, device, real=root / "truth", paired=True, source=root / "source"
    )
    paired = ("psnr", "ssim", "l1", "student_distance", *KEPT)
    of_pairs = pairs.directions["generated"].measures
    found = dict(sets.directions["generated"].measures)
    return {**found, **{each: of_pairs[each] for each in paired}}


def main(root: Path, number: int = 200, size: int = 64) -> None:
    write_sets(root, number, size)
    table = {name: measured(root, name) for name in DAMAGES}
    print(f"| measure | better | {' | '.join(DAMAGES)} |")
    print(f"| --- | --- |{' --- |' * len(DAMAGES)}")
    for metric, first in table["honest"].items():
        values = " | ".join(f"{table[name][metric].value:.4f}" for name in DAMAGES)
        print(f"| `{metric}` | {first.better} | {values} |")
    columns = ["source", *DAMAGES]
    rows = [[root / name / f"{i:04}.png" for name in columns] for i in range(4, 8)]
    sheet(rows, columns).save(root / "damaged.jpg", quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
