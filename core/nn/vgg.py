"""VGG-16 and VGG-19 as frozen feature extractors (Simonyan and Zisserman 2015).

Module names are torchvision's, so its weights load as they are. Files under the Caffe names
`conv1_1`, ... (the official MUNIT's `vgg16.weight`) load too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.error import URLError

import torch
from torch import Tensor, nn

from core.checkpoint import load_network
from core.errors import UserError

VGGDepth = Literal[16, 19]
VGGInput = Literal["torchvision", "caffe"]

_CONVOLUTIONS: dict[VGGDepth, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
_FILES: dict[VGGDepth, str] = {16: "vgg16-397923af.pth", 19: "vgg19-dcbb9e9d.pth"}
_URL = "https://download.pytorch.org/models/"


def vgg_input(images: Tensor, expected: VGGInput) -> Tensor:
    """RGB images [N, 3, H, W] in [-1, 1] as the weights expect them; a single channel is repeated.

    Args:
        images: float.
        expected: `torchvision`: RGB in [0, 1], less ImageNet's mean, over its standard deviation;
            `caffe`: BGR in 0..255 less its mean.
    """
    images = images.expand(-1, 3, -1, -1)
    if expected == "torchvision":
        mean, std = images.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        return ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    mean = images.new_tensor([103.939, 116.779, 123.680])
    return (images.flip(1) + 1) * 127.5 - mean[:, None, None]


class VGG(nn.Module):
    """The convolutions of VGG up to a named layer, with zero padding and 2x2 max pooling.

    A layer is `conv{block}_{i}` or `relu{block}_{i}`, e.g. `relu4_2`. Always in eval mode, its
    parameters never take gradients (its inputs do).

    Args:
        depth: 16 or 19.
        last: the last layer that is needed; what follows is left out.
        pooled: blocks behind which the image is halved; published networks have leave-outs.
    """

    def __init__(self, depth: VGGDepth, last: str, pooled: Collection[int] = (1, 2, 3, 4)) -> None:
        super().__init__()
        self.depth = depth
        self.layers: dict[str, int] = {}
        """{layer: its place in `features`}"""
        layers: list[nn.Module] = []
        channels = 3
        for block, (number, width) in enumerate(
            zip(_CONVOLUTIONS[depth], _WIDTHS, strict=True), start=1
        ):
            for i in range(1, number + 1):
                self.layers[f"conv{block}_{i}"] = len(layers)
                self.layers[f"relu{block}_{i}"] = len(layers) + 1
                # Not in place: the convolution's output may be asked for.
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            # A left-out pooling keeps its place: the names of what follows depend on it.
            layers.append(nn.MaxPool2d(2) if block in pooled else nn.Identity())
        if last not in self.layers:
            raise ValueError(f"VGG-{depth} has no layer {last!r}; it has {', '.join(self.layers)}")
        self.features = nn.Sequential(*layers[: self.layers[last] + 1])
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """{layer: its output} for preprocessed images [N, 3, H, W] (`vgg_input`)."""
        wanted = {self.layers[name]: name for name in layers}
        outputs: dict[str, Tensor] = {}
        x = images
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in wanted:
                outputs[wanted[place]] = x
        return outputs


def load_vgg(network: VGG, path: str | Path | None = None) -> None:
    """Fill `network` from a file, or with torchvision's ImageNet weights, fetched on first use.

    Args:
        network: its depth and layers say which weights are needed; later ones are dropped.
        path: a state dict under torchvision's keys (`features.0.weight`, ...) or under the layers'
            names (`conv1_1.weight`, ...); None: torchvision's.

    Raises:
        UserError: no such file, not such a state dict, or nothing to be had without a network
            connection; names the file and where to put it.
    """
    source = _torchvision_file(network.depth) if path is None else Path(path)
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{source}: cannot read the VGG weights: {error.strerror}") from None
    except Exception as error:  # torch raises a different type for every kind of damage
        raise UserError(
            f"{source}: not VGG weights that can be read safely ({type(error).__name__})"
        ) from None
    if not isinstance(state, Mapping):
        raise UserError(f"{source}: not a plain state dict {{key: tensor}}")
    load_network(network, vgg_state(network, state), f"VGG-{network.depth}", source)


def vgg_state(network: VGG, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `network` needs of a state dict under either naming, under its own keys."""
    own = network.state_dict()
    named = {}
    for key, value in state.items():
        match = re.fullmatch(r"(conv\d_\d)\.(weight|bias)", key)
        place = network.layers.get(match[1]) if match else None
        named[f"features.{place}.{match[2]}" if match else key] = value
    return {key: value for key, value in named.items() if key in own}


def _torchvision_file(depth: VGGDepth) -> Path:
    """File of torchvision's weights in torch.hub's folder, fetched if they are not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / _FILES[depth]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Checks the digest in the name, and renames when all is there.
        torch.hub.download_url_to_file(
            _URL + path.name, str(path), hash_prefix=path.stem.split("-")[1]
        )
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{path}: the VGG-{depth} weights are not there and cannot be fetched ({reason}); "
            f"download {_URL}{path.name} elsewhere and put it there"
        ) from None
    return path
