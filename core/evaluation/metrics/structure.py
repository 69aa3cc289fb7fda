"""Measure how much of the layout stays, by which places of a picture resemble which others."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from core.nn.random_features import random_features

GRID = 28
"""Places along either side between which similarities are taken, at most (784 in all)."""


def self_similarity(features: Tensor) -> Tensor:
    """Return the cosine similarity of every two places of features [N, C, H, W]: [N, P, P].

    Features of more than `GRID` places along a side are averaged to that many.
    """
    size = (min(features.shape[2], GRID), min(features.shape[3], GRID))
    places = F.normalize(F.adaptive_avg_pool2d(features, size).flatten(2), dim=1)  # [N, C, P]
    return places.transpose(1, 2) @ places


def structure_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared difference of the self-similarities of input and translation, [N].

    Tumanyan et al. 2022 ("Splicing ViT Features for Semantic Appearance Transfer", section 3)
    compare keys of DINO; here these are features of a fixed random network, the coarsest level,
    which needs no download, so that values do not compare with theirs. It does not see colours as
    such: 0 for the same picture, and small for one in other colours.

    Args:
        x: input, [N, C, H, W], float in [-1, 1], sides of at least 4 px.
        y: translation, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"structure_distance: two equal shapes needed, got {x.shape}, {y.shape}")
    a, b = (self_similarity(random_features(images)[-1]) for images in (x, y))
    return (a - b).square().mean(dim=(1, 2))
