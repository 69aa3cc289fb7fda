"""Terms of all trainings here; the decoders' are Li et al.'s (NIPS 2017, eq. 1); pure functions."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from core.losses import full_precision
from core.noise import batch_mean

_FLAT = 0.05
"""Share of a batch's mean size below which a target is not taken to be smaller."""


def reconstruction_loss(output: Tensor, images: Tensor, weight: float) -> Tensor:
    """Return weight * the mean squared difference of images [N, 3, H, W]."""
    return weight * F.mse_loss(output.float(), images.float())


def feature_loss(features: Tensor, target: Tensor, weight: float) -> Tensor:
    """Return weight * mean((features - target)^2) / mean(target^2), of features [N, C, h, w].

    Encoders differ in scale by orders of magnitude (inputs of 0..1 or 0..255, normalised filters);
    relative to it one weight serves all.
    """
    target = target.float()
    scale = batch_mean(target.square().mean()).clamp_min(1e-12)
    return weight * F.mse_loss(features.float(), target) / scale


def gram_matrices(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return {layer: F F^T / (C h w), [N, C, C]} of {layer: features [N, C, h, w]}."""
    made = {}
    for name, value in features.items():
        flat = full_precision(value).flatten(2)  # [N, C, h * w]
        made[name] = flat @ flat.mT / flat[0].numel()
    return made


def relative_distance(found: Tensor, target: Tensor) -> Tensor:
    """Return each image's sum (found - target)^2 / sum target^2, [N], of tensors [N, ...].

    Flat pictures, whose targets are all but 0, would weigh without bound: they count as if they had
    a little of the batch's mean size.
    """
    found, target = full_precision(found).flatten(1), full_precision(target).flatten(1)
    size = target.square().sum(1)
    size = size + _FLAT * batch_mean(size.mean())
    return (found - target).square().sum(1) / size.clamp_min(1e-20)
