"""The guided filter with a colour guide (He, Sun, Tang, ECCV 2010), the fast smoothing.

Official `photo_gif.py`: OpenCV's filter, which works in float32; here sums are float64, as the
regulariser is far below float32's rounding of grey levels squared.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _mirrored(size: int, pad: int, device: torch.device) -> Tensor:
    """Indices of a line extended by `pad` on both sides by reflection that repeats the edge."""
    positions = torch.arange(-pad, size + pad, device=device) % (2 * size)
    return torch.minimum(positions, 2 * size - 1 - positions)


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Means over (2 * radius + 1)^2 windows of [..., H, W]; the outside is the mirrored inside."""
    for dim in (-1, -2):
        size = x.shape[dim]
        line = x.index_select(dim, _mirrored(size, radius, x.device)).cumsum(dim)
        upper = line.narrow(dim, 2 * radius, size)
        lower = line.narrow(dim, 0, size - 1)  # the first window begins at the first sum
        upper = upper.clone()
        upper.narrow(dim, 1, size - 1).sub_(lower)
        x = upper / (2 * radius + 1)
    return x


def _inverse(s: Tensor) -> Tensor:
    """Inverses of symmetric matrices [3, 3, H, W], by cofactors."""
    a, b, c, d, e, f = s[0, 0], s[0, 1], s[0, 2], s[1, 1], s[1, 2], s[2, 2]
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    rows = [torch.stack(row) for row in ((aa, bb, cc), (bb, dd, ee), (cc, ee, ff))]
    return torch.stack(rows) / (a * aa + b * bb + c * cc)


def guided_filter(stylised: Tensor, content: Tensor, *, radius: int = 35, eps: float) -> Tensor:
    """`stylised` as locally affine functions of `content`'s colours.

    Args:
        stylised: [3, H, W], grey levels 0..255.
        content: [3, H, W], grey levels 0..255.
        radius: windows are 2 * radius + 1 pixels wide; they may exceed the image.
        eps: regulariser of the covariance, in squared grey levels.

    Returns:
        [3, H, W] in the type of `stylised`, not clipped.
    """
    guide, target = content.double(), stylised.double()
    mean, mean_target = box_mean(guide, radius), box_mean(target, radius)
    covariance = box_mean(guide[:, None] * guide, radius) - mean[:, None] * mean
    covariance += eps * torch.eye(3, dtype=guide.dtype, device=guide.device)[:, :, None, None]
    cross = box_mean(guide[:, None] * target, radius) - mean[:, None] * mean_target
    slope = (_inverse(covariance)[:, :, None] * cross[None]).sum(1)  # [guide, target, H, W]
    offset = mean_target - (slope * mean[:, None]).sum(0)
    result = (box_mean(slope, radius) * guide[:, None]).sum(0) + box_mean(offset, radius)
    return result.to(stylised.dtype)
