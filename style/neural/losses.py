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

from core.losses import full_precision


class _Products(torch.autograd.Function):
    """F F^T [C, C] of features [1, C, H, W], with F [C, H * W].

    Autograd alone would go back by two products the size of F and add them.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        flat = features.squeeze(0).flatten(1)
        return flat @ flat.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        both = gradients[0] + gradients[0].T
        if torch.is_grad_enabled():
            return (both @ features.squeeze(0).flatten(1)).view_as(features)
        # In the order of the features in memory, and no view: so autograd adds to it in place.
        result = torch.empty_like(features)
        flat, out = (x.squeeze(0).flatten(1) for x in (features, result))
        if flat.stride(0) == 1:
            torch.mm(flat.T, both, out=out.T)
        else:
            torch.mm(both, flat, out=out)
        return result


def gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the Gram matrix (eq. 3) over the number of elements: F F^T / (C * H * W).

    With a mask it is the guided one of Gatys et al. 2017 (eq. 7), over the elements that the mask
    covers; a mask of ones changes nothing.

    Args:
        features: [1, C, H, W].
        mask: [H, W], weights in [0, 1], not all 0.

    Returns:
        [C, C].
    """
    features = full_precision(features)
    if mask is None:
        products: Tensor = _Products.apply(features)
        return products / features.numel()
    flat = features.squeeze(0).flatten(1)  # [C, H * W]
    weights = mask.to(flat).flatten()
    return (flat * weights) @ flat.T / (flat.shape[0] * weights.sum())


def blend(grams: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Make one target of several styles: sum of weight_k / sum(weights) * gram_k, [C, C]."""
    shares = [weight / sum(weights) for weight in weights]
    mixed = (matrix * share for matrix, share in zip(grams, shares, strict=True))
    return sum(mixed, torch.zeros_like(grams[0]))


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Average (F - P)^2 over all elements of features [1, C, H, W] (eq. 1)."""
    # `mse_loss` would give a gradient of another memory format.
    return (full_precision(features) - full_precision(target)).square().mean()


def style_loss(matrix: Tensor, target: Tensor) -> Tensor:
    """Average (G - A)^2 over the C * C entries (eq. 4)."""
    return F.mse_loss(matrix, target)


def total_variation(image: Tensor) -> Tensor:
    """Sum |x[i+1, j] - x[i, j]| + |x[i, j+1] - x[i, j]| over channels and places.

    A plain sum: its weight against the means above grows with the image.
    """
    image = full_precision(image)
    down, right = image.diff(dim=-2), image.diff(dim=-1)
    return down.abs().sum() + right.abs().sum()


def weighted(loss: Tensor, weight: float, *, normalize_gradients: bool) -> Tensor:
    """Return a layer's term, weight * loss.

    Args:
        loss: scalar.
        weight: the layer's.
        normalize_gradients: multiply the gradient, not the value, by weight / (1 + 1e-8 / weight)
            once more, which is what neural-style-pt's option of this name comes to (its README
            promises an L1 norm).
    """
    value = weight * loss
    if not normalize_gradients:
        return value
    return value + (weight * weight / (weight + 1e-8) - 1) * (value - value.detach())
