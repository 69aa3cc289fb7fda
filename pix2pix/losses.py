"""pix2pix's terms (Isola et al. 2017, eq. 1-4); pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from core.losses import l1


def l1_loss(fake_B: Tensor, real_B: Tensor, weight: float) -> Tensor:
    """Eq. 3: weight * mean |G(x) - y| over batch, channels and space."""
    return weight * l1(fake_B, real_B)


def pair(condition: Tensor, image: Tensor) -> Tensor:
    """What the conditional discriminator sees: [N, C_A + C_B, H, W], condition first."""
    return torch.cat([condition, image.to(condition.dtype)], dim=1)
