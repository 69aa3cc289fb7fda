"""The terms of neural style (Gatys, Ecker, Bethge, CVPR 2016); pure functions of tensors.

Normalisation as in neural-style-pt (`neural_style.py`), whose published weights belong to it: means
over elements where the paper sums. Half precision is raised to float32 before anything is squared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _full(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay."""
    return x.float() if x.dtype.itemsize < 4 else x


class _Products(torch.autograd.Function):
    """F F^T of [C, P]. Autograd alone would go back by two products the size of F and add them."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        return flat @ flat.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        both = gradients[0] + gradients[0].T
        # In the order of the features in memory: what follows is added to gradients of that order.
        return (flat.T @ both).T if flat.stride(0) == 1 else both @ flat


def gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Gram matrix (eq. 3) over the number of elements: F F^T / (C * H * W).

    With a mask it is the guided one of Gatys et al. 2017 (eq. 7), over the elements that the mask
    covers; a mask of ones changes nothing.

    Args:
        features: [1, C, H, W].
        mask: [H, W], weights in [0, 1], not all 0.

    Returns:
        [C, C].
    """
    features = _full(features)
    flat = features.squeeze(0).flatten(1)
    places = float(flat.shape[1])
    if mask is None:
        products: Tensor = _Products.apply(flat)
        return products / (flat.shape[0] * places)
    weights = mask.to(flat).flatten()
    return (flat * weights) @ flat.T / (flat.shape[0] * weights.sum())


def blend(grams: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """One target of several styles: sum of weight_k / sum(weights) * gram_k, [C, C]."""
    total = sum(weights)
    mixed = grams[0] * (weights[0] / total)
    for matrix, weight in zip(grams[1:], weights[1:], strict=True):
        mixed = mixed + matrix * (weight / total)
    return mixed


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean over all elements of (F - P)^2 (eq. 1), features [1, C, H, W]."""
    return F.mse_loss(_full(features), _full(target))


def style_loss(matrix: Tensor, target: Tensor) -> Tensor:
    """Mean over the C * C entries of (G - A)^2 (eq. 4)."""
    return F.mse_loss(matrix, target)


def total_variation(image: Tensor) -> Tensor:
    """Sum over channels and places of |x[i+1, j] - x[i, j]| + |x[i, j+1] - x[i, j]|.

    A plain sum: its weight against the means above grows with the image.
    """
    image = _full(image)
    down, right = image.diff(dim=-2), image.diff(dim=-1)
    return down.abs().sum() + right.abs().sum()


def weighted(loss: Tensor, weight: float, *, normalize_gradients: bool) -> Tensor:
    """A layer's term, weight * loss.

    Args:
        loss: scalar.
        weight: of the layer.
        normalize_gradients: multiply the gradient, not the value, by weight / (1 + 1e-8 / weight)
            once more, which is what neural-style-pt's option of this name comes to (its README
            promises an L1 norm).
    """
    value = weight * loss
    if not normalize_gradients:
        return value
    return value + (weight * weight / (weight + 1e-8) - 1) * (value - value.detach())
