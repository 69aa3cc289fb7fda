"""An encoder's weights from `photo_wct.pth` or a torchvision VGG-19."""

from __future__ import annotations

from pathlib import Path

import torch

from core.checkpoints.official_files import read_state
from core.checkpoints.store import load_network
from core.errors import UserError
from style.photo.networks import Encoder

_VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 16, 19)
"""Places of conv1_1..conv4_1 among the `features` of torchvision's network."""
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_encoder(encoder: Encoder, source: Path) -> None:
    """Load a level-4 encoder from `photo_wct.pth` or a torchvision VGG-19.

    torchvision's networks take RGB less ImageNet's mean over its deviation: that is `conv0`.

    Raises:
        UserError: unreadable, or of another network.
    """
    state = read_state(source)
    if "e4.conv0.weight" in state:
        found = {k.removeprefix("e4."): v for k, v in state.items() if k.startswith("e4.")}
    elif all(f"features.{place}.weight" in state for place in _VGG_PLACES):
        mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
        found = {"conv0.weight": torch.diag(1 / std)[:, :, None, None], "conv0.bias": -mean / std}
        convolutions = [name for name in encoder if name != "conv0"]
        for place, name in zip(_VGG_PLACES, convolutions, strict=True):
            for leaf in ("weight", "bias"):
                found[f"{name}.{leaf}"] = state[f"features.{place}.{leaf}"]
    else:
        raise UserError(
            f"{source}: neither photo_wct.pth (`e4.conv0.weight`, ...) nor a torchvision VGG-19 "
            "(`features.0.weight`, ...)"
        )
    load_network(encoder, found, "encoder", source)
