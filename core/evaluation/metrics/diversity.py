"""Measure how much the translations of one image differ from style to style."""

from itertools import combinations

import torch
from torch import Tensor

from core.nn.random_features import random_features


def pixel_distance(outputs: Tensor) -> Tensor:
    """Average the absolute pixel difference over all pairs of styles and all images.

    `outputs` [K, N, C, H, W] are N images in K >= 2 styles, float in [-1, 1]; the scalar is in [0,
    2].
    """
    distances = [(x - y).abs().mean() for x, y in combinations(outputs, 2)]
    return torch.stack(distances).mean()


def feature_distance(outputs: Tensor) -> Tensor:
    """Measure the same in the features of a fixed random network, as LPIPS does in trained ones.

    Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features", Table 5) find random
    networks behind trained ones but ahead of pixel distances; this one needs no download. Features
    of each place are scaled to unit length; the squared differences are summed over channels, then
    averaged over places and levels. The scalar, in [0, 4], compares only outputs of the same size.
    """
    distances = []
    for x, y in combinations([random_features(images) for images in outputs], 2):
        levels = [(p - q).square().sum(dim=1).mean() for p, q in zip(x, y, strict=True)]
        distances.append(torch.stack(levels).mean())
    return torch.stack(distances).mean()
