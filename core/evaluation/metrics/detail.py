"""Compare how much fine structure two sets of pictures have: blur, noise, checkerboards.

PSNR and SSIM to a truth reward a blurred guess, because what is drawn sharply in a slightly wrong
place counts twice. This looks at how much is drawn on each scale, not where.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.evaluation.metrics.correlation import luminance

NUM_BANDS = 3
_FLOOR = 1.0
"""Grey levels squared, of 8 bits; below it is rounding."""


def band_energies(images: Tensor) -> Tensor:
    """Return the mean squared luminance of each band of a Laplacian pyramid, [N, 3], finest first.

    Images are [N, C, H, W] with values of 0 to 255, float or uint8, sides of at least 8 px.
    """
    x = luminance(images)[:, None]
    energies = []
    for _ in range(NUM_BANDS):
        coarse = F.avg_pool2d(x, 2)
        back = F.interpolate(coarse, size=x.shape[2:], mode="bilinear")
        energies.append((x - back).square().mean(dim=(1, 2, 3)))
        x = coarse
    return torch.stack(energies, dim=1)


def detail_distance(fakes: Tensor, reals: Tensor) -> float:
    """Return how far the mean band energies of two sets are apart, in octaves (1: a factor of 2).

    Args:
        fakes: `band_energies` of the images, [N, 3].
        reals: likewise, [M, 3].

    Returns:
        The mean over the bands of |log2 of the ratio|, at least 0.
    """
    a, b = (energies.double().mean(dim=0) + _FLOOR for energies in (fakes, reals))
    return float((a / b).log2().abs().mean())
