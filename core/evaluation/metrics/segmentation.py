"""Score label maps: mean intersection over union and accuracy of pixels and classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Segmenter = Callable[[Tensor], Tensor]
"""Names the class of every pixel: uint8 [N, 3, H, W] -> integers [N, H, W], 0 to classes - 1; any
other number is no class. A user's own network, or `nearest_colour`."""

_ROWS = 1 << 20
"""Pixels that are compared with the colours at once."""


def nearest_colour(colours: Tensor) -> Segmenter:
    """Make the segmenter of pictures that are label maps themselves, as pix2pix draws them.

    Args:
        colours: uint8 [classes, 3]; each pixel belongs to the nearest, the first of equals.
    """
    palette = colours.to(torch.float32)

    def segment(images: Tensor) -> Tensor:
        pixels = images.movedim(1, -1).reshape(-1, 3).float()
        found = [torch.cdist(part, palette).argmin(dim=1) for part in pixels.split(_ROWS)]
        return torch.cat(found).view(len(images), *images.shape[2:])

    return segment


@dataclass(frozen=True)
class SegmentationScores:
    """Shares in [0, 1], as Long et al. 2015 and the Cityscapes benchmark define them.

    Attributes:
        pixel_accuracy: of all pixels with a true class.
        class_accuracy: mean over the classes that occur in the truth.
        mean_iou: intersection over union, mean over the classes that occur in either.
    """

    pixel_accuracy: float
    class_accuracy: float
    mean_iou: float


class Confusion:
    """Counts {true class: {found class: pixels}} over a whole set; scores are of these counts."""

    def __init__(self, classes: int) -> None:
        # One more column, for pixels that the segmenter gives no class.
        self.counts = torch.zeros(classes, classes + 1, dtype=torch.int64)

    @classmethod
    def of(cls, counts: Tensor) -> Confusion:
        """Return one of counts that others have made."""
        confusion = cls(len(counts))
        confusion.counts = counts
        return confusion

    def add(self, found: Tensor, truth: Tensor) -> None:
        """Count pixels of two integer maps of one shape; those without a true class are left out.

        Raises:
            ValueError: the shapes differ.
        """
        if found.shape != truth.shape:
            raise ValueError(f"label maps of one size needed, got {found.shape} and {truth.shape}")
        classes = len(self.counts)
        known = (truth >= 0) & (truth < classes)
        found, truth = found[known].long(), truth[known].long()
        found = torch.where((found >= 0) & (found < classes), found, classes)
        pairs = truth * (classes + 1) + found
        self.counts += pairs.bincount(minlength=self.counts.numel()).view_as(self.counts)

    def scores(self) -> SegmentationScores:
        """Return the scores; NaN where nothing was counted."""
        counts = self.counts.double()
        hits, true, found = counts.diagonal(), counts.sum(dim=1), counts[:, :-1].sum(dim=0)
        union = true + found - hits
        return SegmentationScores(
            float(hits.sum() / true.sum()),
            float((hits / true)[true > 0].mean()),
            float((hits / union)[union > 0].mean()),
        )
