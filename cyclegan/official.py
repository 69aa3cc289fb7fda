"""Read released CycleGAN files into a family, and write them from one.

A run of the official code leaves `<epoch>_net_{G_A,G_B,D_A,D_B}.pth`; a released model is one
generator, `latest_net_G.pth`, for one direction. Each file is a plain state dict.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from core.checkpoints.official_files import find_files, plain, read_states
from core.checkpoints.official_layout import (
    build_official,
    infer_discriminator,
    infer_generator,
    keep_and_load,
    official_files,
)
from core.errors import UserError
from core.options import Direction
from cyclegan.family import CycleGAN

NAMES = r"(?P<epoch>.+)_net_(?P<net>G_A|G_B|D_A|D_B|G)\.pth$"
EXPECTED = "`<epoch>_net_<NET>.pth` with NET in G_A, G_B, D_A, D_B, G"
files = partial(find_files, pattern=NAMES, default="G", expected=EXPECTED)
"""path -> {official network name: file} at a path; `G` is a single released generator."""


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> CycleGAN:
    """Build a family with the given networks only; options are read off the keys and shapes.

    `states` has some of `G_A`, `G_B`, `D_A`, `D_B`, or a single `G`, which translates `direction`.
    """
    states = plain(states)
    if "G" in states:
        states["G_A" if direction == "AtoB" else "G_B"] = states.pop("G")
    first = "G_A" if "G_A" in states else "G_B"
    if first not in states:
        raise UserError(f"{source}: holds no generator")
    model = {"dropout": False} | infer_generator(states[first], source)
    if first == "G_B":
        model["input_nc"], model["output_nc"] = model["output_nc"], model["input_nc"]
    for name in ("D_A", "D_B"):
        if name in states:
            model |= infer_discriminator(states[name], source)
    if model["input_nc"] != model["output_nc"]:
        model["lambda_identity"] = 0.0
    family = build_official(CycleGAN, model, source)
    keep_and_load(family.networks, states, source)
    return family


def to_files(family: CycleGAN) -> dict[str, dict[str, Tensor]]:
    """Return {file name: official state dict} for every network there is."""
    return official_files(family.networks)
