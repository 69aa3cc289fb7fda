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
from core.checkpoints.official_layout import build_official
from core.checkpoints.store import load_network
from core.errors import UserError
from core.options import Direction
from style.family import PhotoWCTDecoders
from style.photo.cascade import DistilledCascade
from style.photo.networks import CHANNELS, PhotoWCT

FILE = "photo_wct.pth"
URL = f"https://github.com/NVIDIA/FastPhotoStyle/raw/master/PhotoWCTModels/{FILE}"


def load_photo_wct(networks: PhotoWCT, state: Mapping[str, Tensor], source: object) -> None:
    """Load the released layout, strictly.

    Raises:
        UserError: keys or shapes disagree.
    """
    load_network(networks, dict(state), "PhotoWCT", source)


def load_distilled(cascade: DistilledCascade, source: Path) -> None:
    """Load `pcakd_vgg.npz`; its eigenbases served the training only.

    Raises:
        UserError: unreadable, or keys or shapes disagree.
    """
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    except OSError as error:
        raise UserError(f"{source}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{source}: not a .npz file of arrays ({error})") from None
    state = {key: value for key, value in arrays.items() if not key.startswith("eigenbasis.")}
    load_network(cascade, state, "distilled", source)


def files(path: Path) -> dict[str, Path]:
    """{`PhotoWCT`: the file} for a file or the folder that holds `photo_wct.pth`."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    return {"PhotoWCT": file}


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """{official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> PhotoWCTDecoders:
    """A training family with the released encoder and decoders; `direction` has no meaning here.

    Raises:
        UserError: keys or shapes disagree, or the encoders are not truncations of one.
    """
    networks = PhotoWCT()
    load_photo_wct(networks, states["PhotoWCT"], source)
    deepest = networks.encoder(4).state_dict()
    for level in (1, 2, 3):
        for key, value in networks.encoder(level).state_dict().items():
            if not torch.equal(value, deepest[key]):
                raise UserError(
                    f"{source}: e{level}.{key} differs from e4's; a training run has one encoder"
                )
    family = build_official(PhotoWCTDecoders, {}, source)
    family.networks["enc"].load_state_dict(deepest)
    for level in CHANNELS:
        family.networks[f"dec{level}"].load_state_dict(networks.decoder(level).state_dict())
    return family


def to_state(family: PhotoWCTDecoders) -> dict[str, Tensor]:
    """The released layout of a training family's networks."""
    networks = PhotoWCT()
    deepest = family.networks["enc"].state_dict()
    for level in CHANNELS:
        encoder = networks.encoder(level)
        encoder.load_state_dict({key: deepest[key] for key in encoder.state_dict()})
        networks.decoder(level).load_state_dict(family.networks[f"dec{level}"].state_dict())
    return {key: value.detach().cpu().contiguous() for key, value in networks.state_dict().items()}


def to_files(family: PhotoWCTDecoders) -> dict[str, dict[str, Tensor]]:
    """{`photo_wct.pth`: state dict}, for the photo stylizer's `weights`."""
    return {FILE: to_state(family)}
