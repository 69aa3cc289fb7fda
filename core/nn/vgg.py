"""VGG-16 and VGG-19 as frozen feature extractors (Simonyan and Zisserman 2015).

Module names are torchvision's, so its weights load as they are, and so do the original Caffe
weights as J. Johnson converted them. Files under the Caffe names `conv1_1`, ... (the official
MUNIT's `vgg16.weight`) load too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.checkpoints.official_files import read_state
from core.checkpoints.store import load_network
from core.errors import UserError

VGGDepth = Literal[16, 19]
VGGInput = Literal["torchvision", "caffe"]
Pooling = Literal["max", "average"]

_CONVOLUTIONS: dict[VGGDepth, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
_PUBLISHED: dict[tuple[VGGInput, VGGDepth], str] = {
    ("torchvision", 16): "https://download.pytorch.org/models/vgg16-397923af.pth",
    ("torchvision", 19): "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    ("caffe", 16): "https://web.eecs.umich.edu/~justincj/models/vgg16-00b39a1b.pth",
    ("caffe", 19): "https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth",
}
"""Addresses of weights; behind the dash stand the first digits of their SHA-256."""


def vgg_input(images: Tensor, expected: VGGInput) -> Tensor:
    """Turn images [N, 3 or 1, H, W] in [-1, 1] into what the weights expect, [N, 3, H, W].

    That is, for `torchvision`, RGB in [0, 1], less ImageNet's mean, over its standard deviation;
    for `caffe`, BGR in 0..255 less its mean.
    """
    images = images.expand(-1, 3, -1, -1)
    if expected == "torchvision":
        mean, std = images.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        return ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    mean = images.new_tensor([103.939, 116.779, 123.680])
    return (images.flip(1) + 1) * 127.5 - mean[:, None, None]


class VGG(nn.Module):
    """The convolutions of VGG up to a named layer, with zero padding and 2x2 pooling.

    A layer is `conv{block}_{i}` or `relu{block}_{i}`, e.g. `relu4_2`. Always in eval mode, its
    parameters never take gradients (its inputs do).

    Args:
        depth: 16 or 19.
        last: the last layer that is needed; what follows is left out.
        pooled: blocks behind which the image is halved; published networks have leave-outs.
        pooling: `average` is what Gatys et al. (2016) recommend for synthesis.
        widths: channels of the five blocks.
    """

    def __init__(
        self,
        depth: VGGDepth,
        last: str,
        pooled: Collection[int] = (1, 2, 3, 4),
        *,
        pooling: Pooling = "max",
        widths: Sequence[int] = _WIDTHS,
    ) -> None:
        super().__init__()
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        self.depth = depth
        self.layers: dict[str, int] = {}
        """{layer: its place in `features`}"""
        layers: list[nn.Module] = []
        channels = 3
        for block, (number, width) in enumerate(
            zip(_CONVOLUTIONS[depth], widths, strict=True), start=1
        ):
            for i in range(1, number + 1):
                self.layers[f"conv{block}_{i}"] = len(layers)
                self.layers[f"relu{block}_{i}"] = len(layers) + 1
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            # A left-out pooling keeps its place: the names of what follows depend on it.
            layers.append(pool(2) if block in pooled else nn.Identity())
        if last not in self.layers:
            raise ValueError(f"VGG-{depth} has no layer {last!r}; it has {', '.join(self.layers)}")
        self.features = nn.Sequential(*layers[: self.layers[last] + 1])
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return {layer: its output} for preprocessed images [N, 3, H, W] (`vgg_input`)."""
        wanted = {self.layers[name]: name for name in layers}
        outputs: dict[str, Tensor] = {}
        x = images
        for place, layer in enumerate(self.features):
            if isinstance(layer, nn.ReLU):
                if place - 1 in wanted and not self._pooled_first(place, wanted):
                    x = F.relu(x)
            elif isinstance(layer, nn.Conv2d):
                with_relu = place not in wanted and not self._pooled_first(place + 1, wanted)
                x = F.relu_(layer(x)) if with_relu else layer(x)
            else:
                x = layer(x)
                if self._pooled_first(place - 1, wanted):
                    x = F.relu_(x)
            if place in wanted:
                outputs[wanted[place]] = x
        return outputs

    def _pooled_first(self, relu: int, wanted: Collection[int]) -> bool:
        """Tell whether a ReLU may follow the pooling behind it: a quarter of the memory."""
        behind = self.features[relu + 1 : relu + 2]
        return relu not in wanted and any(isinstance(layer, nn.MaxPool2d) for layer in behind)


def load_vgg(
    network: VGG, path: str | Path | None = None, published: VGGInput = "torchvision"
) -> None:
    """Fill a network from a file, or with published ImageNet weights, fetched on first use.

    Args:
        network: its depth and layers say which weights are needed; later ones are dropped.
        path: a state dict under torchvision's keys (`features.0.weight`, ...) or under the layers'
            names (`conv1_1.weight`, ...); None: the published ones.
        published: torchvision's own, or the original Caffe weights; each expects its own input.

    Raises:
        UserError: no such file, not such a state dict, or nothing to be had without a network
            connection; names the file and where to put it.
    """
    source = _published_file(published, network.depth) if path is None else Path(path)
    state = read_state(source, "VGG weights")
    load_network(network, vgg_state(network, state), f"VGG-{network.depth}", source)


def vgg_state(network: VGG, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a network needs of a state dict under either naming, under its own keys."""
    own = network.state_dict()
    named = {}
    for key, value in state.items():
        match = re.fullmatch(r"(conv\d_\d)\.(weight|bias)", key)
        place = network.layers.get(match[1]) if match else None
        named[f"features.{place}.{match[2]}" if match else key] = value
    return {key: value for key, value in named.items() if key in own}


def _published_file(published: VGGInput, depth: VGGDepth) -> Path:
    """Return the file of published weights in torch.hub's folder; fetch it if it is not there."""
    url = _PUBLISHED[published, depth]
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Checks the digest in the name, and renames when all is there.
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[1])
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{path}: the VGG-{depth} weights are not there and cannot be fetched ({reason}); "
            f"download {url} elsewhere and put it there"
        ) from None
    return path
