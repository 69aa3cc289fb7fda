"""Whitening and colouring: features of the content take the mean and covariance of the style's.

WCT (Li et al., NIPS 2017) as PhotoWCT uses it (official `photo_wct.py`), and the ZCA transfer of the
distilled networks (Chiu and Gurari, CVPR 2022), which differ in how covariances are regularised.

Deviations from the official code: decompositions are float64 (symmetric eigenvalues instead of a
singular value decomposition: the same for covariances); those of all classes are one batch; a
region of one pixel has covariance 0 instead of 0 / 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from style.photo.labels import Regions


@dataclass(frozen=True)
class Statistics:
    """How covariances are taken.

    Attributes:
        style_identity: whether the identity is added to the style's covariance too, not only to
            the content's.
        unbiased: divide by N - 1 instead of N.
        threshold: eigenvalues after the last one of at least this size are left out.
    """

    style_identity: bool
    unbiased: bool
    threshold: float = 1e-5


PHOTO_WCT = Statistics(style_identity=False, unbiased=True)
ZCA = Statistics(style_identity=True, unbiased=False)


def kept(values: Tensor, threshold: float) -> Tensor:
    """Mask of the singular values that count, [..., C] in any order.

    All from the largest to the last that reaches the threshold; if none does, all.
    """
    reaches = values >= threshold
    return reaches | ~reaches.any(-1, keepdim=True)


def moments(features: Tensor, how: Statistics, *, identity: bool) -> tuple[Tensor, Tensor]:
    """Mean [C, 1] and covariance [C, C] of features [C, N]."""
    mean = features.mean(1, keepdim=True)
    centred = features - mean
    covariance = centred @ centred.T / max(features.shape[1] - how.unbiased, 1)
    if identity:
        covariance = covariance + torch.eye(len(covariance)).to(covariance)
    return mean, covariance


def spectrum(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values [..., C] (ascending) and vectors [..., C, C] of covariances."""
    values, vectors = torch.linalg.eigh(covariances)
    return values.abs(), vectors


def powers(covariances: Tensor, power: float, threshold: float) -> Tensor:
    """[..., C, C] to the given power, on the singular values that count."""
    values, vectors = spectrum(covariances)
    scale = torch.where(kept(values, threshold), values, 1).pow(power)
    scale = torch.where(kept(values, threshold), scale, 0)
    return (vectors * scale[..., None, :]) @ vectors.mT


def transfer(
    content: Tensor, style: Tensor, regions: Regions | None = None, how: Statistics = PHOTO_WCT
) -> Tensor:
    """Whiten the content's features and colour them like the style's, region by region.

    Args:
        content: [1, C, H, W].
        style: [1, C, H', W'].
        regions: classes of both; None: one region each. What belongs to no class that both have
            stays as it is.
        how: the covariances.

    Returns:
        [1, C, H, W].
    """
    a, b = content[0].flatten(1), style[0].flatten(1)
    if regions is None:
        pairs = [(torch.ones_like(a[0], dtype=torch.bool), torch.ones_like(b[0], dtype=torch.bool))]
    else:
        pairs = [
            (x.flatten(), y.flatten())
            for x, y in regions.masks(content.shape[2:], style.shape[2:], a.device)
        ]
    if not pairs:
        return content
    of_content = [moments(a[:, m].double(), how, identity=True) for m, _ in pairs]
    of_style = [moments(b[:, m].double(), how, identity=how.style_identity) for _, m in pairs]
    whitening = powers(torch.stack([c for _, c in of_content]), -0.5, how.threshold)
    colouring = powers(torch.stack([c for _, c in of_style]), 0.5, how.threshold)
    result = a.clone()
    for k, (mask, _) in enumerate(pairs):
        (mean, _), (style_mean, _) = of_content[k], of_style[k]
        centred = a[:, mask].double() - mean
        result[:, mask] = (colouring[k] @ whitening[k] @ centred + style_mean).to(a.dtype)
    return result.view_as(content)
