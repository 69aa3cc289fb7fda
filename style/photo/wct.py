"""Whitening and colouring: features of the content take the mean and covariance of the style's.

WCT (Li et al., NIPS 2017) as PhotoWCT uses it (official `photo_wct.py`), and the ZCA transfer of
the distilled networks (Chiu and Gurari, CVPR 2022); they differ in how covariances are regularised.

Deviations from the official code: decompositions are float64 (symmetric eigenvalues instead of a
singular value decomposition: the same for covariances); those of all classes are one batch; a
region of one pixel has covariance 0 instead of 0 / 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from style.photo.labels import Regions

THRESHOLD = 1e-5
"""Singular values after the last one of at least this size are left out."""
_PIECE_VALUES = 1 << 22
"""Feature values taken to float64 at once: a large picture's do not fit the memory twice."""


@dataclass(frozen=True)
class Statistics:
    """How covariances are taken.

    Attributes:
        style_identity: add the identity to the style's covariance too, not only to the content's.
        unbiased: divide by N - 1 instead of N.
    """

    style_identity: bool
    unbiased: bool


PHOTO_WCT = Statistics(style_identity=False, unbiased=True)
ZCA = Statistics(style_identity=True, unbiased=False)


def kept(values: Tensor) -> Tensor:
    """Mask the singular values [..., C] that count: from `THRESHOLD` on; if none is, all."""
    reaches = values >= THRESHOLD
    return reaches | ~reaches.any(-1, keepdim=True)


def moments(features: Tensor, how: Statistics, *, identity: bool) -> tuple[Tensor, Tensor]:
    """Return mean [C, 1] and covariance [C, C], float64, of features [C, N] of any float type."""
    channels, num = features.shape
    pieces = features.split(max(1, _PIECE_VALUES // channels), dim=1)
    mean = torch.stack([piece.double().sum(1) for piece in pieces]).sum(0)[:, None] / num
    covariance = torch.zeros(channels, channels).to(mean)
    for piece in pieces:
        centred = piece.double() - mean
        covariance.addmm_(centred, centred.T)
    covariance /= max(num - how.unbiased, 1)
    if identity:
        covariance.diagonal().add_(1)
    return mean, covariance


def spectrum(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Return singular values [..., C] (ascending) and vectors [..., C, C] of covariances."""
    values, vectors = torch.linalg.eigh(covariances)
    return values.abs(), vectors


def powers(covariances: Tensor, power: float) -> Tensor:
    """Raise [..., C, C] to a power, on the singular values that count."""
    values, vectors = spectrum(covariances)
    scale = torch.where(kept(values), values, 1).pow(power) * kept(values)
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
    a, b = content[0].flatten(1), style[0].flatten(1)  # [C, H * W], [C, H' * W']
    pairs: list[tuple[Any, Any]] = [(slice(None), slice(None))]
    if regions is not None:
        pairs = list(regions.masks(content.shape[2:], style.shape[2:], a.device))
    if not pairs:
        return content
    of_content = [moments(a[:, x], how, identity=True) for x, _ in pairs]
    of_style = [moments(b[:, y], how, identity=how.style_identity) for _, y in pairs]
    whitening = powers(torch.stack([c for _, c in of_content]), -0.5)
    colouring = powers(torch.stack([c for _, c in of_style]), 0.5)
    result = a.clone()
    for k, (x, _) in enumerate(pairs):
        (mean, _), (style_mean, _) = of_content[k], of_style[k]
        map_ = colouring[k] @ whitening[k]
        shift = style_mean - map_ @ mean
        result[:, x] = torch.addmm(shift.to(a.dtype), map_.to(a.dtype), a[:, x])
    return result.view_as(content)
