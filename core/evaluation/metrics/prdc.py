"""Precision, recall, density and coverage: are the pictures real, and are all kinds there?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS = 2048
"""Rows of a block of the matrix of distances."""


@dataclass(frozen=True)
class Manifolds:
    """How two sets of features cover each other, each in [0, 1], `density` from 0 upwards.

    Attributes:
        precision: share of the fakes within reach of a real one.
        recall: share of the reals within reach of a fake.
        density: how many real ones reach a fake, of k; about 1 for equal distributions.
        coverage: share of the reals that reach a fake.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(fakes: Tensor, reals: Tensor, k: int = 3) -> Manifolds:
    """Compare two sets of features [N, D] and [M, D] by their k nearest neighbours.

    A feature reaches as far as the k-th nearest of its own set. Precision and recall are those of
    Kynkäänniemi et al. 2019 ("Improved Precision and Recall Metric for Assessing Generative
    Models"), density and coverage those of Naeem et al. 2020 ("Reliable Fidelity and Diversity
    Metrics for Generative Models"). Distances are held in blocks: memory grows with N + M.

    Raises:
        ValueError: the shapes do not fit, or a set has no k-th neighbour.
    """
    if fakes.ndim != 2 or reals.ndim != 2 or fakes.shape[1] != reals.shape[1]:
        raise ValueError(f"manifolds: [N, D] and [M, D] needed, got {fakes.shape}, {reals.shape}")
    if not 1 <= k < min(len(fakes), len(reals)):
        raise ValueError(f"manifolds: k = {k} needs more than {k} features of each set")
    reach_real, reach_fake = _reach(reals, k), _reach(fakes, k)
    precise = torch.zeros(len(fakes), dtype=torch.bool)
    reached = torch.zeros(len(fakes), dtype=torch.long)
    recalled, covered = [], []
    for rows, reach in zip(reals.split(_ROWS), reach_real.split(_ROWS), strict=True):
        distances = torch.cdist(rows, fakes)  # [rows, N]
        within = distances <= reach[:, None]
        precise |= within.any(dim=0)
        reached += (distances < reach[:, None]).sum(dim=0)
        recalled.append((distances <= reach_fake).any(dim=1))
        covered.append(distances.amin(dim=1) < reach)
    return Manifolds(
        float(precise.double().mean()),
        float(torch.cat(recalled).double().mean()),
        float(reached.double().mean() / k),
        float(torch.cat(covered).double().mean()),
    )


def _reach(features: Tensor, k: int) -> Tensor:
    """Return the distance of each to its k-th nearest other one, [N]."""
    return torch.cat(
        [
            torch.cdist(rows, features).kthvalue(k + 1, dim=1).values
            for rows in features.split(_ROWS)
        ]
    )
