"""What layers keep of an image (Gatys, Ecker, Bethge 2016, figure 1): the options that show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from core.errors import UserError
from style.neural.config import Config

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
