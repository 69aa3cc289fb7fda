"""What layers keep of an image: figure 1 of Gatys, Ecker, Bethge (CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from core.errors import UserError
from core.jobs.stylize import Showing, StyleJob, stylize_one
from core.report.pictures import save_png, sheet
from style.neural.config import Config
from style.neural.stylizer import NeuralStyle

Kind = Literal["content", "style"]


def reconstructions(
    config: Config, kind: Kind, layers: Sequence[str] | None = None
) -> list[tuple[str, Config]]:
    """Return [(name, options)], one optimisation each, from noise.

    Args:
        config: encoder, weights, sizes and optimizer.
        kind: `content`: from each layer alone; `style`: from the first layer, the first two, ...,
            all of them.
        layers: default: the style layers of the config, as in the figure.

    Raises:
        UserError: the term in question has no weight in the config.
    """
    if not getattr(config.loss, f"{kind}_weight"):
        raise UserError(f"loss.{kind}_weight: 0 leaves nothing to reconstruct the {kind} by")
    layers = tuple(layers or config.model.style_layers)
    other = "style" if kind == "content" else "content"
    noise = {"init": "noise", "init_image": None, "original_colors": False}
    found = []
    for place, name in enumerate(layers):
        chosen = layers[: place + 1] if kind == "style" else (name,)
        sections = {
            "model": config.model.model_copy(update={f"{kind}_layers": chosen}),
            "loss": config.loss.model_copy(update={f"{other}_weight": 0.0}),
            "image": config.image.model_copy(update=noise),
        }
        found.append((f"{kind}_{name}", config.model_copy(update=sections)))
    return found


def reconstruct_layers(
    config: Any,
    content: Path | None,
    style: Path | None,
    layers: Sequence[str] | None,
    out: Path,
    show: Showing,
    device: torch.device,
) -> Path:
    """Reconstruct the content of one image and the style of another, and draw the figure.

    Args:
        config: of neural style.
        content: image file; None: no row of contents.
        style: image file; None: no row of styles.
        layers: default: the style layers of the config.
        out: folder of the pictures and of the figure, whose file is returned.
        show: what is shown of the work.
        device: where to compute.

    Raises:
        UserError: the config is of another method, or as `reconstructions`.
    """
    if not isinstance(config, Config):
        raise UserError(f"{config.name}: family {config.family} has no layers to reconstruct from")
    rows = []
    images: tuple[tuple[Kind, Path | None], ...] = (("content", content), ("style", style))
    for kind, image in images:
        if image is None:
            continue
        row = [image]
        for name, alone in reconstructions(config, kind, layers):
            stylizer, job = NeuralStyle.build(alone, device), StyleJob(name, image, (image,))
            row.append(stylize_one(stylizer, job, alone, out, show))
        rows.append(row)
    save_png(sheet(rows), out / "reconstructions.png")
    return out / "reconstructions.png"
