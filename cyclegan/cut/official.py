"""Released CUT and FastCUT files: read into, and written from, a family.

A run of the official code leaves `<epoch>_net_{G,F,D}.pth`, each a plain state dict; a released
model is its G. Blurs take numbers of their own in the keys, and their filters stand there too
(`official_constants` of the networks): without both, the keys are CycleGAN's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.checkpoints import official_layout
from core.checkpoints.official_files import find_files, plain, read_states
from core.checkpoints.official_layout import build_official, keep_and_load, official_files
from core.errors import UserError
from core.options import Direction
from cyclegan.cut.config import Model
from cyclegan.cut.family import CUT

NAMES = r"(?P<epoch>.+)_net_(?P<net>G|F|D)\.pth$"
_FILTER = re.compile(r"model\.(\d+)\.filt")


def files(path: Path) -> dict[str, Path]:
    """Find {official network name: file} at a path."""
    return find_files(path, NAMES, "G", "`<epoch>_net_<NET>.pth` with NET in G, F, D")


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def without_blurs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the keys that it would have without antialiasing."""
    blurs = [int(match[1]) for key in state if (match := _FILTER.fullmatch(key))]

    def renumbered(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"model.{number - sum(blur < number for blur in blurs)}."

    kept = {key: value for key, value in state.items() if not _FILTER.fullmatch(key)}
    return {re.sub(r"^model\.(\d+)\.", renumbered, key): value for key, value in kept.items()}


def infer_generator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read the options of CycleGAN's generator, `antialias` and `antialias_up` off the keys."""
    shapes = {tuple(value.shape[2:]) for key, value in state.items() if _FILTER.fullmatch(key)}
    plain_options = official_layout.infer_generator(without_blurs(state), source)
    return plain_options | {"antialias": (3, 3) in shapes, "antialias_up": (4, 4) in shapes}


def infer_discriminator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read `discriminator`, `num_layers_dis` and `ndf` off the keys."""
    return official_layout.infer_discriminator(without_blurs(state), source)


def infer_sampler(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read `netF` and `netF_nc` off the keys, which tell the number of `nce_layers` only.

    Raises:
        UserError: another number of layers than the published one.
    """
    if not state:
        return {"netF": "sample"}
    maps, published = len(state) // 4, Model().nce_layers
    if maps != len(published):
        raise UserError(
            f"{source}: F is for {maps} maps, and its file does not tell which; known are the "
            f"published layers {', '.join(map(str, published))}; convert without F"
        )
    return {"netF": "mlp_sample", "netF_nc": len(state["mlp_0.0.weight"])}


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> CUT:
    """Build a family with the given networks only; options are read off the keys and shapes.

    The layers that F was trained for leave no trace: they are taken to be the published ones.

    Args:
        states: {`G`, and perhaps `F` and `D`: official state dict}.
        direction: what G translates.
        source: file or folder, for errors.
    """
    states = plain(states)
    if "G" not in states:
        raise UserError(f"{source}: holds no generator")
    model = infer_generator(states["G"], source)
    if "F" in states:
        model |= infer_sampler(states["F"], source)
    if "D" in states:
        model |= infer_discriminator(states["D"], source)
    family = build_official(CUT, model, source, {"direction": direction})
    keep_and_load(family.networks, states, source)
    return family


def to_files(family: CUT) -> dict[str, dict[str, Tensor]]:
    """Return {file name: official state dict} for every network there is."""
    return official_files(family.networks)
