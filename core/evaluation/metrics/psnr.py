"""Peak signal-to-noise ratio of image batches."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio of each image, over all its channels and pixels.

    Equals `skimage.metrics.peak_signal_noise_ratio` of each pair.

    Args:
        x: [N, C, H, W], float or uint8, values in [0, data_range]. For images in [-1, 1] the data
            range is 2: only differences enter.
        y: like `x`; the two may be exchanged.
        data_range: distance between the smallest and the largest possible value.

    Returns:
        [N], float64, decibels; infinite where the images are equal.

    Raises:
        ValueError: the shapes differ or are not [N, C, H, W].
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"psnr: two equal shapes [N, C, H, W] needed, got {x.shape} and {y.shape}")
    mse = (x.double() - y.double()).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(data_range**2 / mse)
