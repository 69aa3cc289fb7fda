"""Local affine smoothing: the content image through smoothed colour models (`smooth_filter.py`).

For every pixel the affine colour map from content to stylised colours is fitted over its 3 x 3
neighbourhood; the maps are averaged over a large window, weighted by nearness in place and in the
content's colour (a joint bilateral filter); the content image through its averaged map is the
result. It has the content's structure to the pixel.

Images are [3, H, W] in [0, 1], float32 or float64; models are [3, 4, H, W]: rows R, G, B, columns
r, g, b, 1.

Deviation from the official code, a CUDA kernel: pairs of pixels share one weight, which is half the
exponentials; the numbers are the same.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from style.photo.config import Affine
from style.photo.stencil import half_offsets, views

_PATCH = 3
"""Side of the neighbourhood in pixels; only pixels inside the image count."""
_RIDGE = 1e-3
_STRIP_PIXELS = 1 << 15
"""Pixels averaged at once: what fits a cache."""


def local_models(stylised: Tensor, content: Tensor) -> Tensor:
    """Fit the least-squares colour map content -> stylised around every pixel."""
    height, width = content.shape[1:]
    strip, halo = max(1, _STRIP_PIXELS // width), _PATCH // 2
    strips = []
    for top in range(0, height, strip):
        first = max(0, top - halo)
        rows = slice(first, top + strip + halo)
        fitted = _fit(stylised[:, rows].double(), content[:, rows].double())
        strips.append(fitted[:, :, top - first : top - first + strip].to(stylised.dtype))
    return torch.cat(strips, 2)


def _fit(target: Tensor, guide: Tensor) -> Tensor:
    """Fit the models of float64 images."""
    extended = torch.cat([guide, torch.ones_like(guide[:1])])
    sums = partial(
        F.avg_pool2d, kernel_size=_PATCH, stride=1, padding=_PATCH // 2, divisor_override=1
    )
    normal = sums(extended[:, None] * extended).permute(2, 3, 0, 1)
    normal = normal + torch.diag(normal.new_tensor([_RIDGE, _RIDGE, _RIDGE, 0]))
    moments = sums(extended[:, None] * target).permute(2, 3, 0, 1)
    # Symmetric and, by the ridge and the pixel itself, positive definite.
    return torch.cholesky_solve(moments, torch.linalg.cholesky(normal)).permute(3, 2, 0, 1)


def smoothed_models(models: Tensor, content: Tensor, *, radius: int, edge: float) -> Tensor:
    """Average colour models by a joint bilateral filter.

    The spatial sigma is a third of the window's radius in pixels; `edge` is the sigma in colour, on
    the mean squared difference of the three channels.
    """
    x = torch.cat([models.flatten(0, 1), torch.ones_like(content[:1])])  # the weights' sum last
    total = x.clone()
    variance = (radius / 3) ** 2
    strip = max(1, _STRIP_PIXELS // content.shape[2])
    for top in range(0, content.shape[1], strip):
        for dy, dx in half_offsets(radius)[1:]:
            colours, old, new = (image[:, top : top + strip + dy] for image in (content, x, total))
            here, there = views((dy, dx), *colours.shape[1:])
            distance = (colours[here] - colours[there]).square().mean(0)
            near = math.exp(-(dy * dy + dx * dx) / (2 * variance))
            weight = near * torch.exp(distance / (-2 * edge * edge))
            new[here].addcmul_(weight, old[there])
            new[there].addcmul_(weight, old[here])
    return (total[:-1] / total[-1]).view_as(models)


def apply_models(models: Tensor, content: Tensor) -> Tensor:
    """Map every pixel's colour by its model."""
    return (models[:, :3] * content).sum(1) + models[:, 3]


def affine_smoothing(stylised: Tensor, content: Tensor, options: Affine) -> Tensor:
    """Return the content image with the local colours of the stylised one, not clipped."""
    models = local_models(stylised, content)
    models = smoothed_models(models, content, radius=options.radius, edge=options.edge)
    return apply_models(models, content)
