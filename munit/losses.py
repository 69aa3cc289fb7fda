"""Terms of MUNIT (Huang et al. 2018, section 3 and 5.1) and UNIT; pure functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses import GanMode, average, dis_loss, full_precision, gen_loss
from core.nn.norms import instance_norm
from munit.config import GanType

_MODES: dict[GanType, GanMode] = {"lsgan": "lsgan", "nsgan": "vanilla"}


def multi_scale_dis_loss(
    fake: Sequence[Tensor], real: Sequence[Tensor], gan_type: GanType
) -> Tensor:
    """Sum what a discriminator minimises, fake and real terms of every scale, without factor 1/2.

    Args:
        fake: scores of generated images, one tensor per scale.
        real: scores of real images.
        gan_type: `lsgan` (targets 0 and 1) or `nsgan` (cross-entropy of logits, where the official
            code applies a sigmoid first and clamps logarithms at -100).
    """
    mode = _MODES[gan_type]
    terms = [dis_loss(scores, mode, real=False) for scores in fake]
    return torch.stack(terms + [dis_loss(scores, mode, real=True) for scores in real]).sum()


def multi_scale_gen_loss(fake: Sequence[Tensor], gan_type: GanType) -> Tensor:
    """Sum what a generator minimises, its images judged as real, over the scales."""
    return torch.stack([gen_loss(scores, _MODES[gan_type]) for scores in fake]).sum()


def kl_loss(mean: Tensor) -> Tensor:
    """Return the KL divergence of N(mean, 1) from N(0, 1), less its factor 1/2: mean of mean^2."""
    return average(full_precision(mean).square())


def domain_invariant_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared difference of instance-normalised feature maps [N, C, H, W].

    Section 5.1: without the mean and scale of its channels a feature map tells little of its
    domain. In float32 at least.
    """
    x, y = (instance_norm(full_precision(f)) for f in (x, y))
    return F.mse_loss(x, y)
