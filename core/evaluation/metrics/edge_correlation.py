"""Measure how much of the content stays: are edges of input and translation in the same places?

No published measure of content preservation works without a trained network; this one is ours, and
is called by what it computes. It sees where things are, not which colours they have, and cannot
tell an image from its negative (`core.evaluation.metrics.color_inversion` can).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.evaluation.metrics.correlation import check_pair, luminance, pixel_correlation

NUM_LEVELS = 3
MINIMUM = 12
"""Pixels; smallest side, so that the coarsest level still has a gradient."""


def _gradient_magnitude(light: Tensor) -> Tensor:
    """Apply Sobel's filters: [N, H, W] -> [N, H - 2, W - 2]."""
    smooth, difference = light.new_tensor([1.0, 2.0, 1.0]), light.new_tensor([-1.0, 0.0, 1.0])
    horizontal = torch.outer(smooth, difference)
    kernels = torch.stack([horizontal, horizontal.T])[:, None]  # [2, 1, 3, 3]
    return F.conv2d(light[:, None], kernels).square().sum(dim=1).sqrt()


def edge_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Correlate the gradient magnitudes of the luminance, mean over three levels.

    The levels are full, half and quarter size, so that outlines count beside the texture that a
    translation may well replace (a zebra's stripes). 1 is reached by any change of brightness and
    contrast of the whole picture, about 0 by an unrelated picture. What a good translation reaches
    depends on the data: compare models on the same set.

    Args:
        x: inputs, [N, C, H, W], any range, float or uint8; sides of at least 12 pixels.
        y: translations, [N, C', H, W].

    Returns:
        [N], float64, in [-1, 1]; a level on which either image is flat counts 0.
    """
    check_pair("edge_correlation", x, y)
    if min(x.shape[2:]) < MINIMUM:
        raise ValueError(f"edge_correlation: sides of at least {MINIMUM} px needed, got {x.shape}")
    a, b = luminance(x), luminance(y)
    levels = []
    for level in range(NUM_LEVELS):
        if level:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        levels.append(pixel_correlation(_gradient_magnitude(a), _gradient_magnitude(b)))
    return torch.stack(levels).mean(dim=0)
