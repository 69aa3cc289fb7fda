"""Released weights: `photo_wct.pth` and the distilled networks.

`photo_wct.pth` is a flat state dict with keys `e1.conv0.weight` .. `d4.conv1_1.bias`, which are
ours. The training run (`style.family`) has one encoder, `e4`; the shallower ones are its first
layers, as they are in the released file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.checkpoints.official_files import read_states
from core.checkpoints.official_layout import build_official, to_official
from core.checkpoints.store import load_network
from core.errors import UserError
from core.options import Direction
from style.family import PhotoWCTDecoders
from style.photo.cascade import DistilledCascade, PhotoWCT
from style.photo.networks import LEVELS

FILE = "photo_wct.pth"
URL = f"https://github.com/NVIDIA/FastPhotoStyle/raw/master/PhotoWCTModels/{FILE}"


def load_distilled(cascade: DistilledCascade, source: Path) -> None:
    """Load `pcakd_vgg.npz`; its eigenbases served the training only.

    Raises:
        UserError: unreadable, or keys or shapes disagree.
    """
    try:
        with np.load(source, allow_pickle=False) as file:
            state = {key: torch.from_numpy(file[key]) for key in file.files}
    except OSError as error:
        raise UserError(f"{source}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{source}: not a .npz file of arrays ({error})") from None
    state = {key: value for key, value in state.items() if not key.startswith("eigenbasis.")}
    load_network(cascade, state, "distilled", source)


def files(path: Path) -> dict[str, Path]:
    """Return {`PhotoWCT`: the file} for a file or the folder that holds `photo_wct.pth`."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    return {"PhotoWCT": file}


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> PhotoWCTDecoders:
    """Build a training family with the released encoder and decoders; `direction` means nothing.

    Raises:
        UserError: keys or shapes disagree, or the encoders are not truncations of one.
    """
    networks = PhotoWCT.load(states["PhotoWCT"], source)
    deepest = networks["e4"].state_dict()
    model = {"vgg": networks["e4"].depth}
    family = build_official(PhotoWCTDecoders, model, source)
    family.networks["enc"].load_state_dict(deepest)
    for level in LEVELS:
        for key, value in networks[f"e{level}"].state_dict().items():
            if not torch.equal(value, deepest[key]):
                raise UserError(
                    f"{source}: e{level}.{key} differs from e4's; a training run has one encoder"
                )
        family.networks[f"dec{level}"].load_state_dict(networks[f"d{level}"].state_dict())
    return family


def to_files(family: PhotoWCTDecoders) -> dict[str, dict[str, Tensor]]:
    """Return {`photo_wct.pth`: state dict}, for the photo stylizer's `weights`."""
    networks = PhotoWCT(family.config.model.vgg)
    deepest = family.networks["enc"].state_dict()
    for level in LEVELS:
        encoder = networks[f"e{level}"]
        encoder.load_state_dict({key: deepest[key] for key in encoder.state_dict()})
        networks[f"d{level}"].load_state_dict(family.networks[f"dec{level}"].state_dict())
    return {FILE: to_official(networks)}
