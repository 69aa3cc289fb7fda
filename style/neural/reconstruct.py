"""What layers keep of an image: figure 1 of Gatys, Ecker, Bethge (CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from core.errors import UserError
from core.jobs.stylize import Showing, StyleJob, draw_reconstructions, stylize_one
from style.neural.config import Config
from style.neural.stylizer import NeuralStyle

Kind = Literal["content", "style"]


def reconstructions(
    config: Config, kind: Kind, layers: Sequence[str] | None = None
) -> list[tuple[str, Config]]:
    """[(name, options)], one optimisation each, from noise.

    Args:
        config: encoder, weights, sizes and optimizer.
        kind: `content`: from each layer alone; `style`: from the first layer, the first two, ...,
            all of them.
        layers: default: the style layers of the config, as in the figure.

    Raises:
        UserError: the term in question has no weight in the config.
    """
    weight = getattr(config.loss, f"{kind}_weight")
    if not weight:
        raise UserError(f"loss.{kind}_weight: 0 leaves nothing to reconstruct the {kind} by")
    layers = tuple(layers or config.model.style_layers)
    other = "style" if kind == "content" else "content"
    chosen = [
        (layers[place],) if kind == "content" else layers[: place + 1]
        for place in range(len(layers))
    ]
    image = config.image.model_copy(
        update={"init": "noise", "init_image": None, "original_colors": False}
    )
    return [
        (
            f"{kind}_{names[-1]}",
            config.model_copy(
                update={
                    "model": config.model.model_copy(update={f"{kind}_layers": names}),
                    "loss": config.loss.model_copy(update={f"{other}_weight": 0.0}),
                    "image": image,
                }
            ),
        )
        for names in chosen
    ]


def reconstruct_layers(
    config: Any,
    content: Path | None,
    style: Path | None,
    layers: Sequence[str] | None,
    out: Path,
    show: Showing,
    device: torch.device,
) -> Path:
    """Make every picture of the figure, then the figure.

    Args:
        config: of neural style.
        content: image whose content is reconstructed, if any.
        style: image whose style is reconstructed, if any.
        layers: default: the style layers of the config.
        out: folder of the pictures and of the figure.
        show: what is shown of the work.
        device: where to compute.

    Returns:
        The figure's file.

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
    return draw_reconstructions(rows, out)
