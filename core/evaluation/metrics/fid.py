"""Fréchet distance between two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared Fréchet distance between Gaussians fitted to features [N, D] and [M, D].

    In Inception features (`core.evaluation.metrics.inception`) it is the FID of Heusel et al. 2017,
    "GANs Trained by a Two Time-Scale Update Rule", equation 6: |m_x - m_y|^2 + tr(C_x) + tr(C_y) -
    2 tr((C_x C_y)^(1/2)), with unbiased covariances.

    With centred features X and Y, scaled so that C_x = X^T X and C_y = Y^T Y, the square roots of
    the eigenvalues of C_x C_y are the singular values of X Y^T. So no root of a singular matrix is
    taken, which is where implementations differ for fewer images than features.

    It is at least 0 up to rounding, and biased upwards, the more the fewer images: compare only
    values from equal numbers.

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than two rows.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"frechet_distance: [N, D] and [M, D] with N, M >= 2 needed, got {x.shape}, {y.shape}"
        )
    x, y = x.double(), y.double()
    a, b = _factor(x), _factor(y)
    root = torch.linalg.svdvals(a @ b.T).sum()
    means = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return float(means + a.square().sum() + b.square().sum() - 2 * root)


def _factor(features: Tensor) -> Tensor:
    """Return a matrix F [min(N, D), D] with F^T F the covariance of `features` [N, D]."""
    centred = (features - features.mean(dim=0)) / (len(features) - 1) ** 0.5
    if len(centred) <= centred.shape[1]:
        return centred
    return torch.linalg.qr(centred, mode="r").R
