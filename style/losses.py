"""The decoders' terms (Li et al., NIPS 2017, eq. 1); pure functions of tensors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from core.noise import batch_mean


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
