"""Kernel distance between two sets of features."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NUM_SUBSETS = 100


@dataclass(frozen=True)
class KernelDistance:
    """Unbiased estimates on random subsets."""

    mean: float
    """Over the subsets; about 0, and as often below as above, for equal distributions."""
    std: float
    """Over the subsets (of the population); it tells how far `mean` can be trusted."""


def kernel_distance(x: Tensor, y: Tensor, subset_size: int, seed: int = 0) -> KernelDistance:
    """Return the squared maximum mean discrepancy with the kernel (x . y / D + 1)^3.

    In Inception features (`core.evaluation.networks`) it is the KID of Binkowski et al.
    2018, "Demystifying MMD GANs", section 4. Unlike FID it has no bias that falls with the number
    of images. Subsets are drawn as torch-fidelity draws them, so that a seed gives its numbers.

    The features [N, D] and [M, D] may be exchanged, up to the draw. Each of the 100 subsets has
    `subset_size` of either, from 2 to min(N, M); at N = M every subset is the whole set, and `std`
    0.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"kernel_distance: [N, D] and [M, D] needed, got {x.shape}, {y.shape}")
    if not 2 <= subset_size <= min(len(x), len(y)):
        raise ValueError(
            f"kernel_distance: subset_size from 2 to {min(len(x), len(y))} needed, "
            f"got {subset_size}"
        )
    x, y = x.double(), y.double()
    generator = np.random.RandomState(seed)
    values = []
    for _ in range(NUM_SUBSETS):
        rows = generator.choice(len(x), subset_size, replace=False)
        columns = generator.choice(len(y), subset_size, replace=False)
        values.append(_unbiased_mmd(x[torch.from_numpy(rows)], y[torch.from_numpy(columns)]))
    found = torch.stack(values)
    return KernelDistance(float(found.mean()), float(found.std(correction=0)))


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return (x . y / D + 1)^3 of every pair of rows, [N, M]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _unbiased_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Compare two sets of one size m, no feature with itself."""
    m = len(x)
    xx, yy = kernel(x, x), kernel(y, y)
    within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
    return within / (m * (m - 1)) - 2 * kernel(x, y).mean()
