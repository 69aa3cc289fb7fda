"""Measure which of the known modes of the data a generator finds, and how evenly."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModeCoverage:
    """How well samples cover the modes of a distribution."""

    num_modes: int
    covered: int
    """How many modes got at least a tenth of the samples due to them."""
    total_variation: float
    """Half the sum of |share in the samples - share in the data| over modes: 0 where all shares are
    right, near 1 where one rare mode takes all."""
    high_quality: float
    """Share of samples that lie at a mode at all; 1 where that cannot be told."""


_LEAST_SHARE = 0.1


def _coverage(found: Tensor, expected: Tensor, high_quality: float) -> ModeCoverage:
    """Compare counts [K] with expected shares [K] that sum to 1."""
    shares = found.double() / max(1.0, float(found.sum()))
    # Against all samples, good or not: a mode hit by a few stray points is not covered.
    due = expected * float(found.sum()) / high_quality if high_quality else expected
    covered = (found >= _LEAST_SHARE * due) & (found > 0)
    distance = 0.5 * float((shares - expected).abs().sum()) if found.sum() else 1.0
    return ModeCoverage(len(found), int(covered.sum()), distance, high_quality)


def gaussian_coverage(samples: Tensor, modes: Tensor, std: float) -> ModeCoverage:
    """Measure the coverage of equally likely Gaussians with centres [K, D] by samples [N, D].

    A sample is of high quality within three standard deviations (`std`, in each direction) of its
    nearest mode (Srivastava et al. 2017, VEEGAN, section 4.1); only such samples count for a mode.
    Of true samples in the plane 98.9 % are.
    """
    distances, nearest = torch.cdist(samples.double(), modes.double()).min(dim=1)
    good = distances <= 3 * std
    found = torch.bincount(nearest[good], minlength=len(modes))
    expected = torch.full((len(modes),), 1 / len(modes), dtype=torch.float64)
    return _coverage(found, expected, float(good.double().mean()))


def label_coverage(samples: Sequence[Hashable], data: Sequence[Hashable]) -> ModeCoverage:
    """Measure the coverage of the labels of `data` by `samples`, read from generated pictures.

    Samples of labels that the data lacks lower `high_quality`. Neither may be empty.
    """
    if not samples or not data:
        raise ValueError(f"coverage of {len(samples)} samples and {len(data)} data: needs both")
    wanted, got = Counter(data), Counter(samples)
    labels = sorted(wanted, key=str)
    found = torch.tensor([got[label] for label in labels])
    expected = torch.tensor([wanted[label] / len(data) for label in labels], dtype=torch.float64)
    return _coverage(found, expected, float(found.sum()) / len(samples))
