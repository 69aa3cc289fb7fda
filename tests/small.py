"""Families small enough for a test: narrow networks, small images, seeded."""

from __future__ import annotations

from typing import Any

import torch

from core.config import validate
from core.family import ImageBatch
from cyclegan.family import CycleGAN
from drit.family import DRIT
from pix2pix.family import Pix2Pix

TABLE: dict[str, Any] = {"cyclegan": CycleGAN, "drit": DRIT, "pix2pix": Pix2Pix}
RESNET = {"generator": "resnet_6blocks", "ngf": 4, "ndf": 4, "discriminator": "n_layers"}
SMALL: dict[str, dict[str, Any]] = {
    "cyclegan": RESNET | {"num_layers_dis": 1},
    "pix2pix": RESNET | {"num_layers_dis": 1},
    # Narrow, and discriminators that take images of 44 px.
    "drit": {"dim": 4, "dim_dis": 4, "dis_scale": 2, "num_layers_content": 1, "d_iter": 1},
}


def family(
    name: str, model: dict[str, Any] | None = None, train: dict[str, Any] | None = None
) -> Any:
    """A family with 4-channel networks in train mode; `model` and `train` override."""
    torch.manual_seed(0)
    tree = {
        "family": name,
        "data": {"root": "nowhere"},
        "model": SMALL[name] | (model or {}),
        "train": train or {},
    }
    built = TABLE[name].build(validate(TABLE[name].Config, tree))
    for network in built.networks.values():
        network.train()
    return built


def batch(
    size: int = 16, number: int = 2, channels: tuple[int, int] = (3, 3), seed: int = 0
) -> ImageBatch:
    """Images of uniform noise in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(number, c, size, size, generator=generator) * 2 - 1 for c in channels)
    return ImageBatch(a, b, ("a",) * number, ("b",) * number)
