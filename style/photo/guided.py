"""The guided filter with a colour guide (He, Sun, Tang, ECCV 2010), the fast smoothing.

Official `photo_gif.py`: OpenCV's filter, which works in float32; here sums are float64, as the
regulariser is far below float32's rounding of grey levels squared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from style.photo.config import Guided


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Average (2 * radius + 1)^2 windows of [..., H, W]; the outside is the mirrored inside."""
    for dim in (-1, -2):
        size = x.shape[dim]
        # A reflection that repeats the edge, several times over where the window is larger.
        places = torch.arange(-radius, size + radius, device=x.device) % (2 * size)
        line = x.index_select(dim, torch.minimum(places, 2 * size - 1 - places)).cumsum(dim)
        upper = line.narrow(dim, 2 * radius, size).clone()
        # The first window begins at the first sum.
        upper.narrow(dim, 1, size - 1).sub_(line.narrow(dim, 0, size - 1))
        x = upper / (2 * radius + 1)
    return x


def _inverse(symmetric: Tensor) -> Tensor:
    """Invert symmetric matrices [3, 3, H, W]: cross products of rows over the determinant."""
    adjugate = torch.linalg.cross(symmetric.roll(-1, 0), symmetric.roll(-2, 0), dim=1)
    return adjugate / (symmetric[0] * adjugate[0]).sum(0)


def guided_filter(stylised: Tensor, content: Tensor, options: Guided) -> Tensor:
    """Return `stylised` as locally affine functions of `content`'s colours.

    Args:
        stylised: [3, H, W], grey levels 0..255.
        content: [3, H, W], grey levels 0..255.
        options: windows, which may exceed the image, and regulariser.

    Returns:
        [3, H, W] in the type of `stylised`, not clipped.
    """
    guide, target, radius = content.double(), stylised.double(), options.radius
    mean, mean_target = box_mean(guide, radius), box_mean(target, radius)
    covariance = box_mean(guide[:, None] * guide, radius) - mean[:, None] * mean
    covariance += options.eps * torch.eye(3).to(guide)[:, :, None, None]
    cross = box_mean(guide[:, None] * target, radius) - mean[:, None] * mean_target
    slope = (_inverse(covariance)[:, :, None] * cross[None]).sum(1)  # [guide, target, H, W]
    offset = mean_target - (slope * mean[:, None]).sum(0)
    result = (box_mean(slope, radius) * guide[:, None]).sum(0) + box_mean(offset, radius)
    return result.to(stylised.dtype)
