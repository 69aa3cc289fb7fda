"""Encoders and decoders of photo style transfer; RGB in [0, 1] on both ends.

`PhotoWCT` (Li et al., ECCV 2018; official `models.py`): VGG-19 up to relu{1..4}_1 and mirrored
decoders that put values back where max pooling took them from. `DistilledEncoder` and
`DistilledDecoder` (Chiu and Gurari, CVPR 2022): a small encoder with high-frequency residuals, a
decoder run block by block. `WaveletPackets`: an orthonormal transform that needs no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.padding import ReflectionPad2d

LEVELS = (4, 3, 2, 1)
"""Of the cascade, in order."""
CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512}
"""Of the features of a level."""
_ENCODER = (
    ("conv1_1", 3, 64),
    *(("conv1_2", 64, 64), ("pool1", 0, 0), ("conv2_1", 64, 128)),
    *(("conv2_2", 128, 128), ("pool2", 0, 0), ("conv3_1", 128, 256)),
    *(("conv3_2", 256, 256), ("conv3_3", 256, 256), ("conv3_4", 256, 256)),
    *(("pool3", 0, 0), ("conv4_1", 256, 512)),
)
"""(layer, channels in, channels out); a decoder has the same layers backwards."""


def _layers(level: int) -> tuple[tuple[str, int, int], ...]:
    names = [name for name, _, _ in _ENCODER]
    return _ENCODER[: names.index(f"conv{level}_1") + 1]


class _Conv3x3(nn.Conv2d):
    """3 x 3 convolution of the reflection-padded input; sides of at least 2 pixels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)
        self._pad = ReflectionPad2d(1)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W], same size."""
        return super().forward(self._pad(input))


@dataclass(frozen=True)
class Pooling:
    """What unpooling needs: argmax positions y * W + x, and the size (H, W) before pooling."""

    indices: Tensor
    size: tuple[int, int]


class Encoder(nn.Module):
    """VGG-19 up to relu{level}_1."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level
        self.conv0 = nn.Conv2d(3, 3, 1)
        for name, inner, outer in _layers(level):
            if name.startswith("conv"):
                self.add_module(name, _Conv3x3(inner, outer))

    def forward(
        self, images: Tensor, level: int | None = None
    ) -> tuple[dict[int, Tensor], tuple[Pooling, ...]]:
        """{level: relu{level}_1} for every level up to one, and the poolings on the way.

        Args:
            images: [N, 3, H, W] in [0, 1]; before each convolution sides must be at least 2.
            level: the last one wanted; default: this encoder's.

        Returns:
            Features [N, 64 * 2^(level-1), H / 2^(level-1), W / 2^(level-1)], sizes rounded down.
        """
        x = self.conv0(images)
        found: dict[int, Tensor] = {}
        poolings: list[Pooling] = []
        for name, _, _ in _layers(level or self.level):
            if name.startswith("pool"):
                size = (x.shape[2], x.shape[3])
                x, indices = F.max_pool2d(x, 2, return_indices=True)
                poolings.append(Pooling(indices, size))
            else:
                x = F.relu(self.get_submodule(name)(x))
                if name.endswith("_1"):
                    found[int(name[4])] = x
        return found, tuple(poolings)


class Decoder(nn.Module):
    """The mirrored encoder, with unpooling; no activation at the end."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level
        for name, inner, outer in reversed(_layers(level)):
            if name.startswith("conv"):
                self.add_module(name, _Conv3x3(outer, inner))

    def forward(self, features: Tensor, poolings: tuple[Pooling, ...]) -> Tensor:
        """relu{level}_1 features and the encoder's poolings to images [N, 3, H, W]."""
        x, left = features, list(poolings)
        for name, _, _ in reversed(_layers(self.level)):
            if name.startswith("pool"):
                pooling = left.pop()
                x = F.max_unpool2d(x, pooling.indices, [2, 2], output_size=pooling.size)
            else:
                x = self.get_submodule(name)(x)
                x = x if name == "conv1_1" else F.relu(x)
        return x


class PhotoWCT(nn.Module):
    """Encoders `e1..e4` and decoders `d1..d4`, named as in the released file."""

    def __init__(self) -> None:
        super().__init__()
        for level in sorted(CHANNELS):
            self.add_module(f"e{level}", Encoder(level))
            self.add_module(f"d{level}", Decoder(level))

    def encoder(self, level: int) -> Encoder:
        """`e{level}`."""
        return cast("Encoder", self.get_submodule(f"e{level}"))

    def decoder(self, level: int) -> Decoder:
        """`d{level}`."""
        return cast("Decoder", self.get_submodule(f"d{level}"))


_DISTILLED_ENCODER: tuple[tuple[tuple[str, int, int], ...], ...] = (
    (("conv1_1", 3, 10),),
    (("conv1_2", 10, 10), ("pool", 0, 0), ("conv2_1", 10, 20)),
    (("conv2_2", 20, 20), ("pool", 0, 0), ("conv3_1", 20, 58)),
    (
        *(("conv3_2", 58, 58), ("conv3_3", 58, 58), ("conv3_4", 58, 58)),
        *(("pool", 0, 0), ("conv4_1", 58, 64)),
    ),
)
_DISTILLED_DECODER: tuple[tuple[tuple[str, int, int], ...], ...] = (
    (("join", 0, 0), ("conv1_1", 13, 3)),
    (("conv2_1", 20, 10), ("upsample", 0, 0), ("add", 0, 0), ("conv1_2", 10, 10)),
    (("conv3_1", 58, 20), ("upsample", 0, 0), ("add", 0, 0), ("conv2_2", 20, 20)),
    (
        *(("conv4_1", 64, 58), ("upsample", 0, 0), ("conv3_4", 58, 58), ("conv3_3", 58, 58)),
        *(("add", 0, 0), ("conv3_2", 58, 58)),
    ),
)


def _block(steps: tuple[tuple[str, int, int], ...]) -> nn.Module:
    block = nn.Module()
    for name, inner, outer in steps:
        if name.startswith("conv"):
            block.add_module(name, _Conv3x3(inner, outer))
    return block


class DistilledEncoder(nn.Module):
    """Four blocks, of which each also gives the high frequencies of its own input.

    Sides must be multiples of 8.
    """

    def __init__(self) -> None:
        super().__init__()
        for k, steps in enumerate(_DISTILLED_ENCODER):
            self.add_module(f"block{k}", _block(steps))
        # A frozen random mixing of the colours: the published weights have it in the place of
        # VGG's preprocessing.
        self.get_submodule("block0").add_module("preprocess", nn.Conv2d(3, 3, 1))

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Images [N, 3, H, W] to features of blocks 0..3 (10, 20, 58, 64 channels), and residuals.

        A residual is the block's input less its 3 x 3 mean: 3, 10, 20 and 58 channels.
        """
        x, features, residuals = images, [], []
        for k, steps in enumerate(_DISTILLED_ENCODER):
            block = self.get_submodule(f"block{k}")
            mean = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            residuals.append(x - mean)
            x = block.get_submodule("preprocess")(x) if k == 0 else x
            for name, _, _ in steps:
                is_pool = name == "pool"
                x = F.max_pool2d(x, 2) if is_pool else F.relu(block.get_submodule(name)(x))
            features.append(x)
        return features, residuals


class DistilledDecoder(nn.Module):
    """Four blocks; each leads from one level's features to those of the next shallower level."""

    def __init__(self) -> None:
        super().__init__()
        for k, steps in enumerate(_DISTILLED_DECODER):
            self.add_module(f"block{k}", _block(steps))

    def forward(self, features: Tensor, residual: Tensor, level: int) -> Tensor:
        """Features of `level` (0..3) to those of the level above, or, for level 0, to the image.

        Args:
            features: [N, C, h, w].
            residual: of the encoder's block of that level, twice as large (level 0: as large).
            level: the block.
        """
        block, x = self.get_submodule(f"block{level}"), features
        for name, _, _ in _DISTILLED_DECODER[level]:
            if name == "join":
                x = torch.cat([x, residual], 1)
            elif name == "add":
                x = x + residual
            elif name == "upsample":
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            else:
                x = block.get_submodule(name)(x)
                x = x if level == 0 else F.relu(x)
        return x


class WaveletPackets(nn.Module):
    """Full Haar wavelet packets of a depth: 3 * 4^depth channels at 1 / 2^depth of the size.

    Orthonormal, so the transpose is the exact inverse. Sides must be multiples of 2^depth.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        line = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        kernels = line[:, None, :, None] * line[None, :, None, :] / 2  # [vertical, horizontal, ..]
        self.kernels: Tensor
        self.register_buffer("kernels", kernels.reshape(4, 1, 2, 2), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] to packets [N, 3 * 4^depth, H / 2^depth, W / 2^depth]."""
        x = images
        for _ in range(self.depth):
            channels = x.shape[1]
            x = F.conv2d(x, self.kernels.to(x).repeat(channels, 1, 1, 1), stride=2, groups=channels)
        return x

    def inverse(self, packets: Tensor) -> Tensor:
        """The inverse of `forward`."""
        x = packets
        for _ in range(self.depth):
            channels = x.shape[1] // 4
            kernels = self.kernels.to(x).repeat(channels, 1, 1, 1)
            x = F.conv_transpose2d(x, kernels, stride=2, groups=channels)
        return x
