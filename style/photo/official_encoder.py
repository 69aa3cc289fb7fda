"""An encoder's weights from `photo_wct.pth` or a VGG file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.checkpoints.official_files import read_state
from core.checkpoints.store import load_network
from core.errors import UserError
from core.nn.vgg import VGG, VGGInput, vgg_input, vgg_state
from style.photo.networks import Encoder


def load_encoder(encoder: Encoder, source: Path, expected: VGGInput = "torchvision") -> None:
    """Load a level-4 encoder from `photo_wct.pth`, or from a VGG file of its depth.

    VGG's own input becomes `conv0`, for images are RGB in [0, 1] here; `expected` says what it is,
    and a `photo_wct.pth` has its own. VGG's layers are scaled to unit size.

    Raises:
        UserError: unreadable, or of another network.
    """
    state = read_state(source)
    if "e4.conv0.weight" in state:
        found = {k.removeprefix("e4."): v for k, v in state.items() if k.startswith("e4.")}
    else:
        vgg = VGG(encoder.depth, "relu4_1")
        of_vgg = vgg_state(vgg, state)
        if not of_vgg:
            raise UserError(
                f"{source}: neither photo_wct.pth (`e4.conv0.weight`, ...) nor a VGG-"
                f"{encoder.depth} (`features.0.weight`, ... or `conv1_1.weight`, ...)"
            )
        # The affine map from RGB in [0, 1] to what VGG expects, by its values at four colours.
        colours = torch.cat([torch.zeros(1, 3), torch.eye(3)])[:, :, None, None]
        black, *ends = vgg_input(2 * colours - 1, expected)  # [3, 1, 1] each
        columns = [end - black for end in ends]
        found = {"conv0.weight": torch.stack(columns, 1), "conv0.bias": black.flatten()}
        names = {place: name for name, place in vgg.layers.items()}
        for key, value in of_vgg.items():
            _, place, leaf = key.split(".")
            found[f"{names[int(place)]}.{leaf}"] = value
        found = _of_unit_size(found, list(encoder))
    load_network(encoder, found, "encoder", source)


def _of_unit_size(state: Mapping[str, Tensor], layers: Iterable[str]) -> dict[str, Tensor]:
    """Scale each layer so that its root mean square over noise is 1, as released encoders have it.

    Caffe's features are in the hundreds, of which decoders would learn to get rid for thousands of
    steps. With ReLUs only the scale of each layer's features changes.

    Args:
        state: {layer.weight or layer.bias: tensor}.
        layers: in their order, from `conv0` on.
    """
    scaled, scale = dict(state), 1.0
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 32, 32, generator=generator)
    for layer in layers:
        weight, bias = state[f"{layer}.weight"].float(), state[f"{layer}.bias"].float()
        x = F.conv2d(x, weight, bias, padding="same")
        if layer != "conv0":
            x = x.relu()
            before, scale = scale, float(x.square().mean().sqrt().clamp_min(1e-12))
            scaled[f"{layer}.weight"], scaled[f"{layer}.bias"] = (
                weight * before / scale,
                bias / scale,
            )
    return scaled
