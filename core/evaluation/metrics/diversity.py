"""How much the translations of one image differ from style to style."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from core.nn.random_features import random_features


def _mean_over_pairs(distances: list[Tensor]) -> Tensor:
    return torch.stack(distances).mean()


def pixel_distance(outputs: Tensor) -> Tensor:
    """Mean absolute pixel difference over all pairs of styles and all images.

    Args:
        outputs: [K, N, C, H, W], N images in K >= 2 styles, float in [-1, 1].

    Returns:
        Scalar in [0, 2].
    """
    return _mean_over_pairs([(x - y).abs().mean() for x, y in combinations(outputs, 2)])


def feature_distance(outputs: Tensor) -> Tensor:
    """The same in the features of a fixed random network, as LPIPS does in trained ones.

    Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features", Table 5) find random
    networks behind trained ones but ahead of pixel distances; this one needs no download. Features
    of each place are scaled to unit length; the squared differences are summed over channels, then
    averaged over places and levels.

    Args:
        outputs: as `pixel_distance`.

    Returns:
        Scalar in [0, 4]; comparable only between outputs of the same size.
    """
    features = [random_features(images) for images in outputs]
    return _mean_over_pairs(
        [
            torch.stack(
                [(p - q).square().sum(dim=1).mean() for p, q in zip(x, y, strict=True)]
            ).mean()
            for x, y in combinations(features, 2)
        ]
    )
