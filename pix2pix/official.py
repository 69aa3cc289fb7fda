"""Read released pix2pix files into a family, and write them from one.

A run of the official code leaves `<epoch>_net_{G,D}.pth`; a released model is `latest_net_G.pth`, a
unet_256 trained with dropout. Each file is a plain state dict.
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
from pix2pix.family import Pix2Pix

NAMES = r"(?P<epoch>.+)_net_(?P<net>G|D)\.pth$"
EXPECTED = "`<epoch>_net_<NET>.pth` with NET in G, D"
files = partial(find_files, pattern=NAMES, default="G", expected=EXPECTED)
"""path -> {official network name: file} at a path."""


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> Pix2Pix:
    """Build a family with the given networks only; options are read off the keys and shapes.

    `states` has `G` and perhaps `D`; `direction` is what G translates, in the data set's terms
    (facades_label2photo: BtoA).
    """
    states = plain(states)
    if "G" not in states:
        raise UserError(f"{source}: holds no generator")
    # A U-Net's keys do not tell about dropout; the released ones were trained with it.
    model = {"dropout": True} | infer_generator(states["G"], source)
    if "D" in states:
        model |= infer_discriminator(states["D"], source)
    family = build_official(Pix2Pix, model, source, {"direction": direction})
    keep_and_load(family.networks, states, source)
    return family


def to_files(family: Pix2Pix) -> dict[str, dict[str, Tensor]]:
    """Return {file name: official state dict} for every network there is."""
    return official_files(family.networks)
