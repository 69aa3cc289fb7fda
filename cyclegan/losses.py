"""CycleGAN's terms (Zhu et al. 2017, eq. 1-3 and section 5.2); pure functions of tensors."""

from __future__ import annotations

from torch import Tensor

from core.losses import l1


def cycle_loss(reconstruction: Tensor, real: Tensor, weight: float) -> Tensor:
    """Eq. 2, one direction: weight * mean |F(G(x)) - x| over batch, channels and space."""
    return weight * l1(reconstruction, real)


def identity_loss(same: Tensor, real: Tensor, weight: float, lambda_identity: float) -> Tensor:
    """Section 5.2: weight * lambda_identity * mean |G(y) - y|.

    `weight` is the cycle weight of the domain that y comes from: lambda_B for idt_A = G_A(real_B).
    """
    return weight * lambda_identity * l1(same, real)
