"""Compare GAN objectives by the modes they find: tables and a picture.

Two data sets with known truth: the 25 Gaussians, whose modes are counted, and procedural faces,
whose attributes are read from the pictures. The reader names something for any picture, so the
numbers say how often each hair and eye colour comes, not how good a face is; that the picture
shows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from core.checkpoints import store
from core.config import validate
from core.family import FamilyTable, to_float
from core.inference.loading import load_sampler
from core.jobs.latent import random_noise
from core.procedural import faces
from core.procedural.coverage_toy import OBJECTIVES, gaussian_modes, train_toy
from core.procedural.faces import VisibleAttributes
from core.procedural.mode_coverage import label_coverage
from core.procedural.sets import make_faces
from core.report.pictures import grid, save_png
from core.runtime.distributed import World
from core.runtime.files import write_file
from core.training.trainer import Trainer

PANEL = 256
"""Side of one panel of the picture in pixels."""
_REACH = 2.0
_DOTS = 4000
_RING, _DOT = (200, 60, 60), (40, 90, 180)
_SIZE, _NUM_CRITIC = 32, 5
_WIDTHS = {"nz": 64, "ngf": 16, "ndf": 16}
_CLIP = {"constraint": "clip", "norm_critic": "batch"}
_FACES: dict[str, tuple[str, dict[str, Any]]] = {
    "vanilla": ("dcgan", {"model": _WIDTHS | {"objective": "vanilla"}}),
    "lsgan": ("dcgan", {"model": _WIDTHS | {"objective": "lsgan"}}),
    "wgan": ("wgan", {"model": _WIDTHS | _CLIP, "optim": {"optimizer": "rmsprop", "lr": 2.5e-4}}),
    "wgan-gp": ("wgan", {"model": _WIDTHS, "optim": {"lr": 5e-4}}),
}
"""{objective: (family, what differs)}; the WGANs at five times the published rates, as the toy."""


def gaussians_panel(samples: Tensor) -> Tensor:
    """Draw samples [N, 2] as dots and modes as rings, [3, PANEL, PANEL], uint8."""
    image = Image.new("RGB", (PANEL, PANEL), "white")
    draw = ImageDraw.Draw(image)
    for x, y in _on_panel(samples[:_DOTS]):
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=_DOT)
    for x, y in _on_panel(gaussian_modes()):
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline=_RING)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _on_panel(points: Tensor) -> list[list[float]]:
    flipped = points * torch.tensor([1.0, -1.0])  # rows of a picture run downwards
    return ((flipped / _REACH + 1) * PANEL / 2).tolist()


def faces_panel(images: Tensor) -> Tensor:
    """Fill a panel [3, PANEL, PANEL] with the first of the images [N, 3, H, W], row by row."""
    per_side = PANEL // images.shape[-1]
    rows = images[: per_side**2].unflatten(0, (per_side, per_side))  # [rows, columns, 3, H, W]
    return rows.permute(2, 0, 3, 1, 4).reshape(3, PANEL, PANEL)


def true_faces(num: int, size: int, seed: int) -> list[VisibleAttributes]:
    """Read the attributes of `num` true faces."""
    drawn = (faces.render_face(faces.draw_face((seed, i)), size) for i in range(num))
    return [faces.read_attributes(picture) for picture in drawn]


def faces_scores(
    seen: Sequence[VisibleAttributes], truth: Sequence[VisibleAttributes]
) -> dict[str, Any]:
    """Compare attributes: colours covered, total variation (TV), shares of masks and glasses."""
    scores: dict[str, Any] = {}
    for name in ("hair", "eyes"):
        got, due = ([getattr(face, name) for face in shown] for shown in (seen, truth))
        found = label_coverage(got, due)
        scores[f"{name} covered"] = f"{found.covered}/{found.num_modes}"
        scores[f"{name} TV"] = round(found.total_variation, 3)
    for name in ("mask", "glasses"):
        scores[name] = round(sum(getattr(face, name) for face in seen) / len(seen), 3)
    return scores


@dataclass(frozen=True)
class Findings:
    """A table {objective: {column: value}}, and a panel [3, PANEL, PANEL] in [-1, 1] of each."""

    rows: dict[str, dict[str, Any]]
    panels: dict[str, Tensor]


def compare_on_gaussians(updates: int, seed: int) -> Findings:
    """Train the four objectives on the toy for so many generator updates."""
    found = Findings({}, {})
    for name, objective in OBJECTIVES.items():
        result = train_toy(objective, updates=updates, seed=seed)
        seen = result.coverage
        found.rows[name] = {
            "modes covered": f"{seen.covered}/{seen.num_modes}",
            "within 3 sigma": round(seen.high_quality, 3),
            "TV": round(seen.total_variation, 3),
            **_cost(updates, result.num_batches, result.seconds),
        }
        found.panels[name] = to_float(gaussians_panel(result.samples))
    return found


def _cost(updates: int, num_batches: int, seconds: float) -> dict[str, int]:
    return {"generator updates": updates, "batches": num_batches, "seconds": round(seconds)}


def compare_on_faces(
    families: FamilyTable,
    output: Path,
    world: World,
    *,
    num_train: int,
    updates: int,
    num_samples: int,
    seed: int,
) -> Findings:
    """Train the four objectives on faces, each in `output/<objective>`, or go on with it.

    `num_samples` faces are read of each after so many generator updates. A last row is of other
    true faces: what a perfect generator scores.

    Raises:
        KeyboardInterrupt: a run was stopped; the same call goes on from there.
    """
    found, root = Findings({}, {}), output / "faces"
    make_faces(root, size=_SIZE, num_images=num_train, seed=seed)
    data = {"root": str(root), "load_size": _SIZE, "crop_size": _SIZE, "cache": "ram"}
    truth = true_faces(num_train, _SIZE, seed)
    for name, (family, options) in _FACES.items():
        steps = updates * (_NUM_CRITIC if family == "wgan" else 1)
        tree = {
            "family": family,
            "name": f"{family}/{name}",
            "data": data | {"num_workers": 0},
            "train": {"num_steps": steps, "batch_size": 64, "seed": seed},
            "log": {"samples_every_epochs": 0, "samples_every": max(1, steps // 4)},
            **options,
        }
        kind, run_dir = families[family], output / name
        config = validate(kind.Config, tree)
        trainer = Trainer(kind, config, run_dir, world, store.newest(run_dir))
        if not trainer.train():
            raise KeyboardInterrupt
        sampler = load_sampler(run_dir, {kind.name: kind}, world.device)
        images = sampler.draw(random_noise(sampler, num_samples, seed))
        cost = _cost(updates, trainer.num_steps, trainer.elapsed_seconds)
        found.rows[name] = faces_scores(faces.read_faces(images), truth) | cost
        found.panels[name] = faces_panel(images)
    blank = dict.fromkeys(next(iter(found.rows.values())), "")
    other = true_faces(num_samples, _SIZE, seed + 1)
    found.rows["other true faces"] = blank | faces_scores(other, truth)
    return found


def write_report(tables: Mapping[str, Findings], folder: Path) -> str:
    """Write `coverage.md`, `coverage.json` and `coverage.png`; return the Markdown."""
    text = "\n\n".join(f"## {title}\n\n{markdown(one.rows)}" for title, one in tables.items())
    numbers = json.dumps({title: one.rows for title, one in tables.items()}, indent=1)
    write_file(folder / "coverage.md", lambda file: file.write(f"{text}\n".encode()))
    write_file(folder / "coverage.json", lambda file: file.write(numbers.encode()))
    names = next(iter(tables.values())).panels
    columns = {n: torch.stack([one.panels[n] for one in tables.values()]) for n in names}
    save_png(grid(columns, max_rows=len(tables)), folder / "coverage.png")
    return text


def markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Format {row: {column: value}} as a table; all rows have the columns of the first."""
    columns = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(str(row[column]) for column in columns) + " |")
    return "\n".join(lines)
