"""Peak signal-to-noise ratio of image batches."""

import torch
from torch import Tensor


def psnr(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio of each image, over all its channels and pixels.

    Images are [N, C, H, W], float or uint8, and may be exchanged. `data_range` is the distance
    between the smallest and the largest possible value: 2 for images in [-1, 1], as only
    differences enter. The result is [N], float64, in decibels, infinite where the images are equal,
    as `skimage.metrics.peak_signal_noise_ratio` of each pair.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"psnr: two equal shapes [N, C, H, W] needed, got {x.shape} and {y.shape}")
    mse = (x.double() - y.double()).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(data_range**2 / mse)
