"""An encoder's weights from `photo_wct.pth` or a torchvision VGG-19."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.checkpoints.official_files import read_state
from core.checkpoints.store import load_network
from core.errors import UserError
from style.photo.networks import Encoder

_VGG_LAYERS = {
    **{"features.0": "conv1_1", "features.2": "conv1_2", "features.5": "conv2_1"},
    **{"features.7": "conv2_2", "features.10": "conv3_1", "features.12": "conv3_2"},
    **{"features.14": "conv3_3", "features.16": "conv3_4", "features.19": "conv4_1"},
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
            f"{source}: neither photo_wct.pth (`e4.conv0.weight`, ...) nor a torchvision VGG-19 "
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
