"""From a content and a style image to the stylised one, before any smoothing.

The cascade of PhotoWCT (section 3.1; official `photo_wct.py`): level by level from the deepest the
image so far is encoded, its features take the style's statistics, and the decoder gives the next
image. The distilled networks go through their levels in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from style.photo.labels import Regions
from style.photo.networks import (
    LEVELS,
    DistilledDecoder,
    DistilledEncoder,
    PhotoWCT,
    WaveletPackets,
)
from style.photo.wct import PHOTO_WCT, ZCA, transfer


class Cascade(Protocol):
    """A stylisation without smoothing."""

    multiple: int
    """Sides of images must be multiples of this many pixels."""
    minimum: int
    """Smallest side of images in pixels."""

    def __call__(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """[1, 3, H, W] and [1, 3, H', W'] in [0, 1] to [1, 3, H, W], not clipped."""


class PhotoWCTCascade(nn.Module):
    """Levels 4 to 1 of the published networks; every style feature comes from `e4`."""

    multiple = 1
    minimum = 16

    def __init__(self) -> None:
        super().__init__()
        self.networks = PhotoWCT()

    def images(
        self, content: Tensor, style: Tensor, regions: Regions | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """(level, image after it), from level 4 to level 1."""
        of_style, _ = self.networks.encoder(LEVELS[0])(style)
        image = content
        for level in LEVELS:
            features, poolings = self.networks.encoder(level)(image)
            moved = transfer(features[level], of_style[level], regions, PHOTO_WCT)
            image = self.networks.decoder(level)(moved, poolings)
            yield level, image

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """See `Cascade`."""
        *_, (_, image) = self.images(content, style, regions)
        return image


class WaveletCascade(nn.Module):
    """The same cascade on wavelet packets, 0..3 deep: no weights, and decoding is exact.

    Ours, not published. Packets are of grey levels 0..255, for which the identity that whitening
    adds to the content's covariance is a noise floor of one level.
    """

    multiple = 2 ** (LEVELS[0] - 1)
    minimum = 16

    def __init__(self) -> None:
        super().__init__()
        self.packets = nn.ModuleList(WaveletPackets(level - 1) for level in sorted(LEVELS))

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """See `Cascade`."""
        image = content * 255
        for level in LEVELS:
            packets = self.packets[level - 1]
            assert isinstance(packets, WaveletPackets)
            features = transfer(packets(image), packets(style * 255), regions, PHOTO_WCT)
            image = packets.inverse(features)
        return image / 255


class DistilledCascade(nn.Module):
    """ZCA transfer at four levels within one pass of the distilled networks."""

    multiple = 8
    minimum = 16

    def __init__(self) -> None:
        super().__init__()
        self.encoder = DistilledEncoder()
        self.decoder = DistilledDecoder()

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """See `Cascade`."""
        features, residuals = self.encoder(content)
        of_style, _ = self.encoder(style)
        x = features[-1]
        for level in reversed(range(len(features))):
            x = transfer(x, of_style[level], regions, ZCA)
            x = self.decoder(x, residuals[level], level)
        return x


def padded(image: Tensor, multiple: int) -> Tensor:
    """[N, C, H, W] with the last row and column repeated up to multiples of `multiple`."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
