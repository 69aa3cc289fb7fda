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

from style.photo.labels import Regions, resize_nearest
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
    adds to the content's covariance is a noise floor of one level. Packets are blocks, whose
    borders would show: the result is the mean over several places of the grid (cycle spinning,
    Coifman and Donoho 1995).
    """

    SHIFTS = ((0, 0), (2, 5), (4, 2), (6, 7))
    """(down, right) in pixels by which the grid is moved, on both images."""
    multiple = 2 ** (LEVELS[0] - 1)
    minimum = 16

    def __init__(self) -> None:
        super().__init__()
        self.packets = nn.ModuleList(WaveletPackets(level - 1) for level in sorted(LEVELS))

    @torch.no_grad()
    def forward(self, content: Tensor, style: Tensor, regions: Regions | None = None) -> Tensor:
        """See `Cascade`."""
        height, width = content.shape[2:]
        total = torch.zeros_like(content)
        for down, right in self.SHIFTS:
            sides = (right, -right % self.multiple, down, -down % self.multiple)
            image, target = (F.pad(x * 255, sides, mode="replicate") for x in (content, style))
            moved = None if regions is None else _padded_regions(regions, content, style, sides)
            for level in LEVELS:
                packets = self.packets[level - 1]
                assert isinstance(packets, WaveletPackets)
                features = transfer(packets(image), packets(target), moved, PHOTO_WCT)
                image = packets.inverse(features)
            total += image[:, :, down : down + height, right : right + width]
        return total / (255 * len(self.SHIFTS))


def _padded_regions(
    regions: Regions, content: Tensor, style: Tensor, sides: tuple[int, int, int, int]
) -> Regions:
    """Regions at the images' sizes with their edges repeated: left, right, above, below."""

    def extended(labels: Tensor, image: Tensor) -> Tensor:
        whole = resize_nearest(labels, image.shape[2:])[None, None].double()
        return F.pad(whole, sides, mode="replicate")[0, 0].long()

    of_content, of_style = extended(regions.content, content), extended(regions.style, style)
    return Regions(of_content, of_style, regions.classes)


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
