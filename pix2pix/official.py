"""Released pix2pix files: read into, and written from, a family.

A run of the official code leaves `<epoch>_net_{G,D}.pth`; a released model is `latest_net_G.pth`,
a unet_256 trained with dropout. Each file is a plain state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from core.checkpoints.official_files import read_states
from core.checkpoints.official_layout import (
    find_files,
    infer_discriminator,
    infer_generator,
    keep_and_load,
    official_files,
)
from core.config import validate
from core.errors import UserError
from core.options import Direction
from pix2pix.config import Config
from pix2pix.family import Pix2Pix

NETWORKS = ("G", "D")


def files(path: Path) -> dict[str, Path]:
    """{official network name: file} at a path."""
    return find_files(path, NETWORKS)


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """{official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> Pix2Pix:
    """A family with the given networks only; options are read off the keys and shapes.

    Args:
        states: {`G` and perhaps `D`: official state dict}.
        direction: what it translates, in the data set's terms (facades_label2photo: BtoA).
        source: file or folder, for errors.
    """
    if "G" not in states:
        raise UserError(f"{source}: holds no generator")
    # A U-Net's keys do not tell about dropout; the released ones were trained with it.
    model = {"dropout": True} | infer_generator(states["G"], source)
    if "D" in states:
        model |= infer_discriminator(states["D"], source)
    data = {"root": "", "direction": direction}
    tree = {"family": "pix2pix", "name": "official", "data": data, "model": model}
    family = Pix2Pix.build(validate(Config, tree, source=str(source)))
    keep_and_load(family.networks, states, source)
    return family


def to_files(family: Pix2Pix) -> dict[str, dict[str, Tensor]]:
    """{file name: official state dict} for every network there is."""
    return official_files(family.networks)
