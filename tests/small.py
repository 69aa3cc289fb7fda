"""Families small enough for a test: narrow networks, small images, seeded."""

from __future__ import annotations

from typing import Any

import torch

from core.config import validate
from core.family import ImageBatch
from cyclegan.cut.family import CUT
from cyclegan.family import CycleGAN
from dcgan.family import DCGAN
from drit.family import DRIT
from munit.family import MUNIT
from munit.unit import UNIT
from pix2pix.family import Pix2Pix
from wgan.family import WGAN

TABLE: dict[str, Any] = {
    "cut": CUT,
    "cyclegan": CycleGAN,
    "drit": DRIT,
    "munit": MUNIT,
    "pix2pix": Pix2Pix,
    "unit": UNIT,
}
RESNET = {"generator": "resnet_6blocks", "ngf": 4, "ndf": 4, "discriminator": "n_layers"}
TWO_SCALES = {"dim": 4, "n_layer": 2, "num_scales": 2}
VAE = {"gen": {"dim": 4, "n_res": 1}, "dis": TWO_SCALES}
SMALL: dict[str, dict[str, Any]] = {
    "cut": RESNET | {"num_layers_dis": 1, "netF_nc": 8, "num_patches": 32},
    "cyclegan": RESNET | {"num_layers_dis": 1},
    # Discriminators that take images of 44 px.
    "drit": {"dim": 4, "dim_dis": 4, "dis_scale": 2, "num_layers_content": 1, "d_iter": 1},
    "munit": VAE | {"gen": {"dim": 4, "mlp_dim": 8, "style_dim": 3, "n_res": 1}},
    "pix2pix": RESNET | {"num_layers_dis": 1},
    "unit": VAE,
}


WORDS = {"hair": ["blue", "red"], "eyes": ["green", "red"]}
GENERATIVE: dict[str, dict[str, Any]] = {
    "dcgan": {"model": {"ngf": 4, "ndf": 4}},
    "wgan": {"model": {"ngf": 4, "ndf": 4, "generator": "dcgan", "critic": "dcgan"}},
    "dcgan with words": {
        "data": {"root": "x", "tags": "tags.csv"},
        "model": {"ngf": 4, "ndf": 4, "text": {"projection_dim": 4, "vocabulary": WORDS}},
    },
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


def any_family(name: str) -> Any:
    """A small family, generative ones included."""
    if name in SMALL:
        return family(name)
    kind = {"dcgan": DCGAN, "wgan": WGAN}[name.split()[0]]
    tree = {"family": kind.name, "data": {"root": "/home/someone/faces"}} | GENERATIVE[name]
    return kind.build(validate(kind.Config, tree))


def batch(
    size: int = 16,
    number: int = 2,
    channels: tuple[int, int] = (3, 3),
    seed: int = 0,
    width: int | None = None,
) -> ImageBatch:
    """Images of uniform noise in [-1, 1], square unless a width is given."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(number, c, size, width or size) for c in channels]
    a, b = (torch.rand(shape, generator=generator) * 2 - 1 for shape in shapes)
    return ImageBatch(a, b, ("a",) * number, ("b",) * number)
