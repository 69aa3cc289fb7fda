"""Local affine smoothing: the content image through smoothed colour models (`smooth_filter.py`).

For every pixel the affine colour map from content to stylised colours is fitted over its 3 x 3
neighbourhood; the maps are averaged over a large window, weighted by nearness in place and in the
content's colour (a joint bilateral filter); the content image through its averaged map is the
result. It has the content's structure to the pixel.

Deviation from the official code, a CUDA kernel: pairs of pixels share one weight, which is half the
exponentials; the numbers are the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from style.photo.stencil import half_offsets

_RIDGE = 1e-3
_STRIP_PIXELS = 1 << 15
"""Pixels averaged at once: what fits a cache."""


def local_models(stylised: Tensor, content: Tensor, *, patch: int = 3) -> Tensor:
    """Least-squares colour maps content -> stylised around every pixel.

    Args:
        stylised: [3, H, W] in [0, 1].
        content: [3, H, W] in [0, 1].
        patch: side of the neighbourhood in pixels, odd; only pixels inside the image count.

    Returns:
        [3, 4, H, W] in the type of `stylised`: rows R, G, B; columns r, g, b, 1.
    """
    height, width = content.shape[1:]
    strip, halo = max(1, _STRIP_PIXELS // width), patch // 2
    strips = []
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        first = max(0, top - halo)
        rows = slice(first, min(bottom + halo, height))
        fitted = _fit(stylised[:, rows].double(), content[:, rows].double(), patch)
        strips.append(fitted[:, :, top - first : bottom - first].to(stylised.dtype))
    return torch.cat(strips, 2)


def _fit(target: Tensor, guide: Tensor, patch: int) -> Tensor:
    """`local_models` of float64 images."""
    extended = torch.cat([guide, torch.ones_like(guide[:1])])
    height, width = guide.shape[1:]

    def sums(x: Tensor) -> Tensor:
        padded = F.pad(x, (patch // 2,) * 4)
        rows = torch.stack([padded[..., k : k + height, :] for k in range(patch)]).sum(0)
        return torch.stack([rows[..., k : k + width] for k in range(patch)]).sum(0)

    normal = sums(extended[:, None] * extended).permute(2, 3, 0, 1)
    normal = normal + torch.diag(normal.new_tensor([_RIDGE, _RIDGE, _RIDGE, 0]))
    moments = sums(extended[:, None] * target).permute(2, 3, 0, 1)
    # Symmetric and, by the ridge and the pixel itself, positive definite.
    return torch.cholesky_solve(moments, torch.linalg.cholesky(normal)).permute(3, 2, 0, 1)


def smoothed_models(models: Tensor, content: Tensor, *, radius: int, edge: float) -> Tensor:
    """Joint bilateral average of colour models.

    Args:
        models: [3, 4, H, W].
        content: [3, H, W] in [0, 1].
        radius: of the window in pixels; the spatial sigma is a third of it.
        edge: sigma in colour, on the mean squared difference of the three channels.

    Returns:
        [3, 4, H, W].
    """
    height, width = content.shape[1:]
    x = torch.cat([models.flatten(0, 1), torch.ones_like(content[:1])])  # the weights' sum last
    total = x.clone()
    variance = (radius / 3) ** 2
    strip = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip):
        for dy, dx in half_offsets(radius)[1:]:
            rows = min(top + strip, height - dy) - top
            columns = width - abs(dx)
            if rows <= 0 or columns <= 0:
                continue
            left = max(0, -dx)
            here = (slice(None), slice(top, top + rows), slice(left, left + columns))
            there = (
                slice(None),
                slice(top + dy, top + dy + rows),
                slice(left + dx, left + dx + columns),
            )
            distance = (content[here] - content[there]).square().mean(0)
            near = math.exp(-(dy * dy + dx * dx) / (2 * variance))
            weight = near * torch.exp(distance / (-2 * edge * edge))
            total[here].addcmul_(weight, x[there])
            total[there].addcmul_(weight, x[here])
    return (total[:-1] / total[-1]).view_as(models)


def apply_models(models: Tensor, content: Tensor) -> Tensor:
    """[3, 4, H, W] on [3, H, W]: every pixel's colour through its model."""
    return (models[:, :3] * content).sum(1) + models[:, 3]


def affine_smoothing(
    stylised: Tensor, content: Tensor, *, radius: int = 15, edge: float = 0.1
) -> Tensor:
    """The content image with the local colours of the stylised one.

    Args:
        stylised: [3, H, W] in [0, 1], float32 or float64.
        content: [3, H, W] in [0, 1], of the same type.
        radius: window of the average, in pixels (`f_radius`).
        edge: how different colours may be to share a model (`f_edge`).

    Returns:
        [3, H, W], not clipped.
    """
    models = local_models(stylised, content)
    return apply_models(smoothed_models(models, content, radius=radius, edge=edge), content)
