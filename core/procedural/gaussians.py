"""A grid of narrow Gaussians in the plane: here a GAN that drops modes is seen at once.

The 5x5 grid of Metz et al. 2017 and of the WGAN-GP authors' `gan_toy.py`, scaled to about unit
variance as there.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 5
_SCALE = 2.828
STD = 0.05 / _SCALE
"""Standard deviation of each Gaussian, in each direction."""


def gaussian_modes(side: int = SIDE) -> Tensor:
    """The centres, [side * side, 2], float32, rows from the lower left."""
    line = (torch.arange(side) - (side - 1) / 2) * 2 / _SCALE
    return torch.cartesian_prod(line, line)


def draw_gaussians(num: int, generator: torch.Generator | None = None, side: int = SIDE) -> Tensor:
    """Points of the mixture, [num, 2], float32; every mode is equally likely."""
    modes = gaussian_modes(side)
    which = torch.randint(len(modes), (num,), generator=generator)
    return modes[which] + STD * torch.randn(num, 2, generator=generator)
