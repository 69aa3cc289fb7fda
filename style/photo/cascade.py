"""From a content and a style image to the stylised one, before any smoothing.

The cascade of PhotoWCT (section 3.1; official `photo_wct.py`): level by level from the deepest the
image so far is encoded, its features take the style's statistics, and the decoder gives the next
image. The distilled networks go through their levels in one pass.

Each module maps a content [1, 3, H, W] and a style [1, 3, H', W'] in [0, 1], of any sizes, and the
regions that belong together to the stylised image [1, 3, H, W], which is not clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.checkpoints.store import load_network
from core.nn.vgg import VGGDepth
from style.photo.labels import Regions, resize_nearest
from style.photo.networks import (
    LEVELS,
    Decoder,
    DistilledDecoder,
    DistilledEncoder,
    Encoder,
    from_wavelet_packets,
    wavelet_packets,
)
from style.photo.wct import PHOTO_WCT, ZCA, transfer

MIN_SIDE = 16
"""Smallest side of an image in pixels: what reflection padding needs at level 4."""
_BLOCK = 8
"""Pixels that a feature of the deepest level stands for, across and down."""


class PhotoWCT(nn.ModuleDict):
    """The published networks: encoders `e1..e4` and decoders `d1..d4`, as in the released file.

    Args:
        depth: of VGG; the released one is 19.
    """

    def __init__(self, depth: VGGDepth = 19) -> None:
        super().__init__()
        for level in LEVELS:
            self[f"e{level}"], self[f"d{level}"] = Encoder(level, depth), Decoder(level, depth)

    @classmethod
    def load(cls, state: Mapping[str, Tensor], source: object) -> Self:
        """Make the networks of a `photo_wct.pth`, of VGG-16 or VGG-19.

        Raises:
            UserError: keys or shapes disagree.
        """
        networks = cls(19 if "e4.conv3_4.weight" in state else 16)
        load_network(networks, state, "PhotoWCT", source)
        return networks

    def images(
        self, content: Tensor, style: Tensor, regions: Regions | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (level, image after it) from level 4 to level 1; all style features are `e4`'s."""
        of_style, _ = self["e4"](style)
        image = content
        for level in reversed(LEVELS):
            features, poolings = self[f"e{level}"](image)
            moved = transfer(features[level], of_style[level], regions, PHOTO_WCT)  # [1, C, h, w]
            image = self[f"d{level}"](moved, poolings)
            yield level, image

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """Return the image after level 1."""
        *_, (_, image) = self.images(content, style, regions)
        return image


class DistilledCascade(nn.Module):
    """ZCA transfer at four levels within one pass of the distilled networks."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = DistilledEncoder()
        self.decoder = DistilledDecoder()

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """Transfer within the decoder, before each of its blocks."""
        height, width = content.shape[2:]
        content, style, regions = extended(content, style, regions)
        features, residuals = self.encoder(content)
        of_style, _ = self.encoder(style)
        x = features[-1]
        for k in reversed(range(len(features))):
            x = self.decoder(transfer(x, of_style[k], regions, ZCA), residuals[k], k)
        return x[:, :, :height, :width]


class WaveletCascade(nn.Module):
    """The same cascade on wavelet packets, 0..3 deep: no weights, and decoding is exact.

    Ours, not published. Packets are of grey levels 0..255, for which the identity that whitening
    adds to the content's covariance is a noise floor of one level. Packets are blocks, whose
    borders would show: the result is the mean over several places of the grid (cycle spinning,
    Coifman and Donoho 1995).
    """

    SHIFTS = ((0, 0), (2, 5), (4, 2), (6, 7))
    """(down, right) in pixels by which the grid is moved, on both images."""

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """Return the mean of the results on every grid."""
        height, width = content.shape[2:]
        total = torch.zeros_like(content)
        for down, right in self.SHIFTS:
            image, target, moved = extended(content * 255, style * 255, regions, down, right)
            for level in reversed(LEVELS):
                packets, of_style = (wavelet_packets(x, level - 1) for x in (image, target))
                image = from_wavelet_packets(
                    transfer(packets, of_style, moved, PHOTO_WCT), level - 1
                )
            total += image[:, :, down : down + height, right : right + width]
        return total / (255 * len(self.SHIFTS))


Cascade = PhotoWCT | DistilledCascade | WaveletCascade


def extended(
    content: Tensor, style: Tensor, regions: Regions | None, down: int = 0, right: int = 0
) -> tuple[Tensor, Tensor, Regions | None]:
    """Repeat the edges of two images [1, 3, H, W], and of their regions, to whole blocks.

    Args:
        content: any size.
        style: any size.
        regions: maps of any size.
        down: pixels, below a block, that the grid of blocks begins above the images.
        right: likewise, to the left of them.
    """

    def repeated(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        # To whole blocks of the image, and then to whole blocks of the moved grid.
        below = -height % _BLOCK + -down % _BLOCK
        beside = -width % _BLOCK + -right % _BLOCK
        return F.pad(x, (right, beside, down, below), mode="replicate")

    def of_labels(labels: Tensor, image: Tensor) -> Tensor:
        whole = resize_nearest(labels, image.shape[2:])
        return repeated(whole[None, None].double())[0, 0].long()

    if regions is not None:
        a, b = of_labels(regions.content, content), of_labels(regions.style, style)
        regions = Regions(a, b, regions.classes)
    return repeated(content), repeated(style), regions
