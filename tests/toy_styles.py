"""A family with styles whose results can be told by hand: content is shading, style is colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config import validate
from core.family import ImageBatch
from core.options import Direction
from cyclegan.config import Config


class Tint:
    """Content: deviation of the image's brightness from its mean. Style: mean colour."""

    name = "tint"
    Config = Config
    layout = "unpaired"
    ema_networks = ()
    objective = "G"
    multiple, minimum, style_dim = 4, 8, 3
    directions: tuple[Direction, ...] = ("AtoB", "BtoA")

    def __init__(self) -> None:
        tree = {"family": "cyclegan", "name": "tint", "data": {"root": "", "crop_size": 16}}
        self.config: Any = validate(Config, tree)
        self.networks: dict[str, nn.Module] = {"one": nn.Identity()}
        self.optimizers: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.num_encoded = 0

    @classmethod
    def build(cls, config: Any) -> Tint:
        return cls()

    def training_step(self, batch: ImageBatch, step: int, update: Any) -> dict[str, Tensor]:
        raise AssertionError("not trained")

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(num, 3, generator=generator)

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        return images.mean(dim=(2, 3))

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        self.num_encoded += 1
        gray = F.conv2d(images, torch.full((1, 3, 1, 1), 1 / 3))
        return gray - gray.mean(dim=(2, 3), keepdim=True)

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        return (content + styles[:, :, None, None]).clamp(-1, 1)

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        codes = torch.zeros(len(images), 3) if styles is None else styles
        return self.decode(self.encode_content(images, direction), codes, direction)

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        return {"A": batch.a, "B": batch.b}
