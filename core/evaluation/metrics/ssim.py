"""Structural similarity of image batches."""

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA = 1.5
RADIUS = 5
"""3.5 sigma, rounded: the 11 x 11 window of the paper."""
MULTI_SCALE_MINIMUM = 161
"""Pixels; smallest side that leaves a window on the fifth scale."""
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first."""


def _blur(images: Tensor) -> Tensor:
    """Take the Gaussian mean of each full window; [M, 1, H, W] -> [M, 1, H - 10, W - 10]."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights = weights / weights.sum()
    rows = F.conv2d(images, weights.view(1, 1, -1, 1))
    return F.conv2d(rows, weights.view(1, 1, 1, -1))


def ssim(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the mean structural similarity of each image, averaged over its channels.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity"
    (2004), equation 13 with K1 = 0.01, K2 = 0.03 and population variances. Equals
    `skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, channel_axis=...)`. Computed in float64, since the variances are
    small differences of large numbers.

    Images are [N, C, H, W], float or uint8, of at least 11 x 11 pixels, with values in [0,
    data_range], and may be exchanged. Unlike PSNR, SSIM depends on the zero point: shift images in
    [-1, 1] to [0, 1] first. The result is [N], float64, in [-1, 1]; 1 where the images are equal.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"ssim: two equal shapes [N, C, H, W] needed, got {x.shape} and {y.shape}")
    if min(x.shape[2:]) < 2 * RADIUS + 1:
        raise ValueError(f"ssim: images of at least 11 x 11 pixels needed, got {x.shape}")
    a, b = (images.double().flatten(0, 1)[:, None] for images in (x, y))  # [N*C, 1, H, W]
    luminance, structure = _terms(a, b, data_range)
    return (luminance * structure).unflatten(0, x.shape[:2]).mean(dim=(1, 2, 3, 4))


def _terms(a: Tensor, b: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return both factors of equation 13 for each window of images [M, 1, H, W]."""
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a = _blur(a * a) - mean_a**2
    variance_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_a + variance_b + c2)


def ms_ssim(x: Tensor, y: Tensor, data_range: float = 1.0) -> Tensor:
    """Return the multi-scale structural similarity of each image, averaged over its channels.

    Source: Wang, Simoncelli and Bovik, "Multiscale Structural Similarity for Image Quality
    Assessment" (2003), equation 7 with its five weights. Negative structure counts as 0, without
    which its fractional power would be none; equals `pytorch_msssim.ms_ssim`.

    Args:
        x: [N, C, H, W], float or uint8, values in [0, data_range]; H and W at least
            `MULTI_SCALE_MINIMUM`.
        y: like `x`; the two may be exchanged.
        data_range: as in `ssim`.

    Returns:
        [N], float64, in [0, 1].

    Raises:
        ValueError: the shapes differ, are not [N, C, H, W], or are too small.
    """
    if x.shape != y.shape or x.ndim != 4 or min(x.shape[2:]) < MULTI_SCALE_MINIMUM:
        raise ValueError(
            f"ms_ssim: two equal shapes [N, C, H, W] of at least {MULTI_SCALE_MINIMUM} px needed, "
            f"got {x.shape} and {y.shape}"
        )
    a, b = (images.double().flatten(0, 1)[:, None] for images in (x, y))  # [N*C, 1, H, W]
    found = torch.ones(len(a), dtype=torch.float64, device=a.device)
    for level, weight in enumerate(_WEIGHTS):
        luminance, structure = _terms(a, b, data_range)
        last = level == len(_WEIGHTS) - 1
        term = (luminance * structure if last else structure).mean(dim=(1, 2, 3))
        found = found * term.clamp_min(0) ** weight
        # Odd sides are padded, as the published code's filter does.
        padding = [side % 2 for side in a.shape[2:]]
        a, b = (F.avg_pool2d(each, 2, padding=padding) for each in (a, b))
    return found.unflatten(0, x.shape[:2]).mean(dim=1)
