"""Fréchet distance between two sets of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of a set of features.

    Attributes:
        mean: [D], float64.
        factor: [R, D], float64; the covariance is `factor.T @ factor`.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """Fit features [N, D], with the unbiased covariance.

        Raises:
            ValueError: not of two dimensions, or fewer than two rows.
        """
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"frechet_distance: [N, D] with N >= 2 needed, got {features.shape}")
        features = features.double()
        mean = features.mean(dim=0)
        centred = (features - mean) / (len(features) - 1) ** 0.5
        if len(centred) > centred.shape[1]:
            centred = torch.linalg.qr(centred, mode="r").R
        return cls(mean, centred)

    @classmethod
    def from_moments(cls, mean: Tensor, covariance: Tensor) -> Gaussian:
        """Take a mean [D] and a covariance [D, D], as files of statistics hold them."""
        values, vectors = torch.linalg.eigh(covariance.double())
        # Rounding leaves the zeros of a singular covariance a little below.
        return cls(mean.double(), values.clamp_min(0).sqrt()[:, None] * vectors.T)

    @property
    def covariance(self) -> Tensor:
        """[D, D], float64."""
        return self.factor.T @ self.factor

    def distance(self, other: Gaussian) -> float:
        """Return the squared Fréchet distance; see `frechet_distance`."""
        root = torch.linalg.svdvals(self.factor @ other.factor.T).sum()
        means = (self.mean - other.mean).square().sum()
        spreads = self.factor.square().sum() + other.factor.square().sum()
        return float(means + spreads - 2 * root)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared Fréchet distance between Gaussians fitted to features [N, D] and [M, D].

    In Inception features (`core.evaluation.networks`) it is the FID of Heusel et al. 2017, "GANs
    Trained by a Two Time-Scale Update Rule", equation 6: |m_x - m_y|^2 + tr(C_x) + tr(C_y) - 2
    tr((C_x C_y)^(1/2)), with unbiased covariances.

    With centred features X and Y, scaled so that C_x = X^T X and C_y = Y^T Y, the square roots of
    the eigenvalues of C_x C_y are the singular values of X Y^T. So no root of a singular matrix is
    taken, which is where implementations differ for fewer images than features.

    It is at least 0 up to rounding, and biased upwards, the more the fewer images: compare only
    values from equal numbers (`core.evaluation.uncertainty` measures by how much).

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than two rows.
    """
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"frechet_distance: features of one width needed: {x.shape}, {y.shape}")
    return Gaussian.of(x).distance(Gaussian.of(y))
