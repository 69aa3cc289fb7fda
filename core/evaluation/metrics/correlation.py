"""Correlate two images over their pixels."""

import torch
from torch import Tensor


def luminance(images: Tensor) -> Tensor:
    """Return [N, H, W], float64: Rec. 601 luma of RGB, the plain mean of any other channels.

    Images are [N, C, H, W], any range, float or uint8.
    """
    images = images.double()
    if images.shape[1] == 3:
        return torch.einsum("nchw,c->nhw", images, images.new_tensor([0.299, 0.587, 0.114]))
    return images.mean(dim=1)


def pixel_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return the Pearson correlation of each pair of maps [N, H, W], float64.

    It is [N], float64, in [-1, 1], whatever the scale and offset of either; 0 where either map is
    flat.
    """
    a, b = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (x, y))
    norms = a.norm(dim=1) * b.norm(dim=1)
    # Rounding leaves a flat map a norm of about 1e-13, not 0.
    flat = norms < 1e-9
    return torch.where(flat, 0.0, (a * b).sum(dim=1) / norms.clamp_min(1e-9)).clamp(-1.0, 1.0)


def check_pair(metric: str, x: Tensor, y: Tensor) -> None:
    """Refuse, with a ValueError, batches that differ in more than the number of channels."""
    if x.ndim != 4 or y.ndim != 4 or x.shape[0] != y.shape[0] or x.shape[2:] != y.shape[2:]:
        raise ValueError(
            f"{metric}: [N, C, H, W] of equal N, H, W needed, got {x.shape} and {y.shape}"
        )
