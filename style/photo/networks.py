"""Encoders and decoders of photo style transfer; RGB in [0, 1] on both ends.

`Encoder` and `Decoder` (PhotoWCT, Li et al., ECCV 2018; official `models.py`): VGG-19, or VGG-16,
up to relu{1..4}_1, and its mirror image, which puts values back where max pooling took them from.
`DistilledEncoder` and `DistilledDecoder` (Chiu and Gurari, CVPR 2022): the same layers with few
channels; the decoder runs block by block and is given the high frequencies that poolings lose.
`wavelet_packets`: an orthonormal transform that needs no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.padding import MirroredConv2d
from core.nn.vgg import VGGDepth

LEVELS = (1, 2, 3, 4)
"""Depths that the style is transferred at; the features of level k are relu{k}_1."""
_BLOCKS = (
    ("conv1_1",),
    ("conv1_2", "pool1", "conv2_1"),
    ("conv2_2", "pool2", "conv3_1"),
    ("conv3_2", "conv3_3", "conv3_4", "pool3", "conv4_1"),
)
"""VGG-19's layers: the k-th tuple leads to level k. A decoder has the same layers backwards."""
_MISSING: dict[VGGDepth, tuple[str, ...]] = {16: ("conv3_4",), 19: ()}
"""{depth of VGG: layers that it has not}."""
_VGG_WIDTHS = (64, 128, 256, 512)
_DISTILLED_WIDTHS = (10, 20, 58, 64)
"""Channels of the convolutions conv{k}_*, and so of level k."""


def _block(k: int, depth: VGGDepth) -> list[str]:
    """Name the layers that lead to level k."""
    return [layer for layer in _BLOCKS[k - 1] if layer not in _MISSING[depth]]


def _layers(level: int, depth: VGGDepth) -> list[str]:
    return [layer for k in range(1, level + 1) for layer in _block(k, depth)]


def _convolutions(
    layers: Iterable[str], widths: Sequence[int], *, backwards: bool = False
) -> dict[str, nn.Module]:
    """Make {layer: its convolution}; backwards, from its usual outputs to its usual inputs."""
    made: dict[str, nn.Module] = {}
    for layer in layers:
        if layer.startswith("conv"):
            block, number = map(int, layer.removeprefix("conv").split("_"))
            outer = widths[block - 1]
            inner = outer if number > 1 else (3, *widths)[block - 1]
            made[layer] = (
                MirroredConv2d(outer, inner) if backwards else MirroredConv2d(inner, outer)
            )
    return made


class Pooling(NamedTuple):
    """What unpooling needs: argmax positions y * W + x, and the size (H, W) before pooling."""

    indices: Tensor
    size: tuple[int, int]


class Encoder(nn.ModuleDict):
    """VGG up to relu{level}_1: {layer: convolution}."""

    def __init__(self, level: int, depth: VGGDepth = 19) -> None:
        convolutions = _convolutions(_layers(level, depth), _VGG_WIDTHS)
        super().__init__({"conv0": nn.Conv2d(3, 3, 1), **convolutions})
        self.level, self.depth = level, depth

    def forward(
        self, images: Tensor, level: int | None = None
    ) -> tuple[dict[int, Tensor], tuple[Pooling, ...]]:
        """Return {level: its features} up to one level, and the poolings on the way.

        Args:
            images: [N, 3, H, W] in [0, 1]; before each convolution sides must be at least 2.
            level: the last one wanted; default: this encoder's.
        """
        x = self["conv0"](images)
        features: dict[int, Tensor] = {}
        poolings: list[Pooling] = []
        for k in range(1, (level or self.level) + 1):
            for layer in _block(k, self.depth):
                if layer.startswith("pool"):
                    size = (x.shape[2], x.shape[3])
                    x, indices = F.max_pool2d(x, 2, return_indices=True)
                    poolings.append(Pooling(indices, size))
                else:
                    x = F.relu(self[layer](x))
            features[k] = x  # [N, 64 * 2^(k - 1), H / 2^(k - 1), W / 2^(k - 1)], rounded down
        return features, tuple(poolings)


class Decoder(nn.ModuleDict):
    """The mirrored encoder with unpooling: {layer: convolution}; no activation at the end."""

    def __init__(self, level: int, depth: VGGDepth = 19) -> None:
        layers = reversed(_layers(level, depth))
        super().__init__(_convolutions(layers, _VGG_WIDTHS, backwards=True))
        self.level, self.depth = level, depth

    def forward(self, features: Tensor, poolings: tuple[Pooling, ...]) -> Tensor:
        """Decode relu{level}_1, with the encoder's poolings, to images [N, 3, H, W]."""
        x, left = features, list(poolings)
        for layer in reversed(_layers(self.level, self.depth)):
            if layer.startswith("pool"):
                pooling = left.pop()
                x = F.max_unpool2d(x, pooling.indices, [2, 2], output_size=pooling.size)
            else:
                x = self[layer](x)
                x = x if layer == "conv1_1" else F.relu(x)
        return x


class DistilledEncoder(nn.ModuleDict):
    """Four blocks, each of which also gives the high frequencies of its own input."""

    def __init__(self) -> None:
        super().__init__()
        for k, block in enumerate(_BLOCKS):
            self[f"block{k}"] = nn.ModuleDict(_convolutions(block, _DISTILLED_WIDTHS))
        # A frozen random mixing of the colours: the published weights have it in the place of
        # VGG's preprocessing.
        self["block0"].add_module("preprocess", nn.Conv2d(3, 3, 1))

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return every block's features, and its input less the 3 x 3 mean of that.

        Sides of the images [N, 3, H, W] must be multiples of 8.
        """
        x, features, residuals = images, [], []
        for k, block in enumerate(_BLOCKS):
            mean = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            residuals.append(x - mean)  # [N, (3, 10, 20, 58)[k], 2 * h, 2 * w]; k = 0: [.., h, w]
            x = self.get_submodule("block0.preprocess")(x) if k == 0 else x
            for layer in block:
                if layer.startswith("pool"):
                    x = F.max_pool2d(x, 2)
                else:
                    x = F.relu(self.get_submodule(f"block{k}.{layer}")(x))
            features.append(x)  # [N, (10, 20, 58, 64)[k], h, w]
        return features, residuals


class DistilledDecoder(nn.ModuleDict):
    """Four blocks; each leads from one level's features to those of the next shallower level."""

    def __init__(self) -> None:
        super().__init__()
        for k, block in enumerate(_BLOCKS):
            self[f"block{k}"] = nn.ModuleDict(
                _convolutions(reversed(block), _DISTILLED_WIDTHS, backwards=True)
            )
        # The residual of the image is three more channels; others are added to the features.
        self["block0"].add_module("conv1_1", MirroredConv2d(10 + 3, 3))

    def forward(self, features: Tensor, residual: Tensor, block: int) -> Tensor:
        """Decode a block's features [N, C, h, w] to those of the block above; block 0: the image.

        The residual is the encoder's of the same block: twice as large, in block 0 as large.
        """
        x, layers = features, list(reversed(_BLOCKS[block]))
        for layer in layers:
            if layer == layers[-1]:
                x = x + residual if block else torch.cat([x, residual], 1)
            if layer.startswith("pool"):
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            else:
                x = self.get_submodule(f"block{block}.{layer}")(x)
                x = F.relu(x) if block else x
        return x


def _haar(x: Tensor, channels: int) -> Tensor:
    """Make one step's kernels [4 * channels, 1, 2, 2], of the type and on the device of x."""
    line = x.new_tensor([[1.0, 1.0], [1.0, -1.0]])
    kernels = line[:, None, :, None] * line[None, :, None, :] / 2  # [vertical, horizontal, ..]
    return kernels.reshape(4, 1, 2, 2).repeat(channels, 1, 1, 1)


def wavelet_packets(images: Tensor, depth: int) -> Tensor:
    """Return the full Haar wavelet packets of images [N, 3, H, W], sides multiples of 2^depth.

    [N, 3 * 4^depth, H / 2^depth, W / 2^depth]; as the transform is orthonormal, its transpose
    (`from_wavelet_packets`) is the exact inverse.
    """
    x = images
    for _ in range(depth):
        x = F.conv2d(x, _haar(x, x.shape[1]), stride=2, groups=x.shape[1])
    return x


def from_wavelet_packets(packets: Tensor, depth: int) -> Tensor:
    """Return the images that `wavelet_packets` made the packets of."""
    x = packets
    for _ in range(depth):
        channels = x.shape[1] // 4
        x = F.conv_transpose2d(x, _haar(x, channels), stride=2, groups=channels)
    return x
