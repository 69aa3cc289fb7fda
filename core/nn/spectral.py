"""One step of the power method, as the official codes of MUNIT and DRIT take it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def power_step(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate a weight's largest singular value by v = W^T u / |W^T u| and u = W v / |W v|.

    Miyato et al. 2018. `torch.nn.utils.parametrizations.spectral_norm` takes the two half steps in
    the other order, so its numbers are others.

    Takes the weight [O, ...], at least float32, and u [O] of the step before; gives u . W v,
    differentiable by the weight, and the new u [O] and v, constants.
    """
    with torch.autocast(weight.device.type, enabled=False):
        matrix = weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.T.mv(u), dim=0, eps=1e-12)
            u = F.normalize(matrix.mv(v), dim=0, eps=1e-12)
        return u.dot(matrix.mv(v)), u, v
