"""Released weights: `photo_wct.pth`, a torchvision VGG-19 as an encoder, and the distilled networks.

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

from core.checkpoint import load_network
from core.config import validate
from core.errors import UserError
from core.official import read_state
from core.options import Direction
from style.config import Config
from style.family import PhotoWCTDecoders
from style.photo.cascade import DistilledCascade
from style.photo.networks import CHANNELS, Encoder, PhotoWCT

FILE = "photo_wct.pth"
URL = f"https://github.com/NVIDIA/FastPhotoStyle/raw/master/PhotoWCTModels/{FILE}"
_VGG_LAYERS = {
    **{"features.0": "conv1_1", "features.2": "conv1_2", "features.5": "conv2_1"},
    **{"features.7": "conv2_2", "features.10": "conv3_1", "features.12": "conv3_2"},
    **{"features.14": "conv3_3", "features.16": "conv3_4", "features.19": "conv4_1"},
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


def encoder_state(state: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """State dict of a level-4 encoder from `photo_wct.pth` or a torchvision VGG-19.

    torchvision's networks take RGB less ImageNet's mean over its deviation: that is `conv0`.

    Raises:
        UserError: neither of the two.
    """
    if "e4.conv0.weight" in state:
        return {k.removeprefix("e4."): v for k, v in state.items() if k.startswith("e4.")}
    if any(f"{theirs}.weight" not in state for theirs in _VGG_LAYERS):
        raise UserError(
            f"{source}: neither {FILE} (`e4.conv0.weight`, ...) nor a torchvision VGG-19 "
            "(`features.0.weight`, ...)"
        )
    mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
    found = {"conv0.weight": torch.diag(1 / std)[:, :, None, None], "conv0.bias": -mean / std}
    for theirs, ours in _VGG_LAYERS.items():
        for leaf in ("weight", "bias"):
            found[f"{ours}.{leaf}"] = state[f"{theirs}.{leaf}"]
    return found


def load_encoder(encoder: Encoder, source: Path) -> None:
    """Load a level-4 encoder from either kind of file.

    Raises:
        UserError: unreadable, or of another network.
    """
    load_network(encoder, encoder_state(read_state(source), source), "encoder", source)


def files(path: Path) -> dict[str, Path]:
    """{`PhotoWCT`: the file} for a file or the folder that holds `photo_wct.pth`."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    return {"PhotoWCT": file}


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
    tree = {"family": "style", "name": "official", "data": {"root": ""}, "model": {"encoder": ""}}
    family = PhotoWCTDecoders(validate(Config, tree, source=str(source)))
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
