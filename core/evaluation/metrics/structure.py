"""Measure how much of the layout stays, by which places of a picture resemble which others."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

GRID = 28
"""Places along either side between which similarities are taken, at most (784 in all)."""


def self_similarity(features: Tensor) -> Tensor:
    """Return the cosine similarity of every two places of features [N, C, H, W]: [N, P, P].

    Features of more than `GRID` places along a side are averaged to that many.
    """
    size = (min(features.shape[2], GRID), min(features.shape[3], GRID))
    places = F.adaptive_avg_pool2d(features, size).flatten(2)  # [N, C, P]
    # Without the picture's mean, by which all of its places look alike.
    places = F.normalize(places - places.mean(dim=2, keepdim=True), dim=1)
    return places.transpose(1, 2) @ places


def structure_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared difference of the self-similarities of input and translation, [N].

    Tumanyan et al. 2022 ("Splicing ViT Features for Semantic Appearance Transfer", section 3)
    compare keys of DINO; values of other features do not compare with theirs. Colours as such do
    not count, only which places look alike. Features of random filters will not do: they find a
    negative nearer to its original than a good translation.

    Args:
        x: features of the inputs, [N, C, H, W], of a trained network.
        y: features of the translations, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"structure_distance: two equal shapes needed, got {x.shape}, {y.shape}")
    return (self_similarity(x) - self_similarity(y)).square().mean(dim=(1, 2))
