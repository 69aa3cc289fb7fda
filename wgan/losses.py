"""Terms of WGAN and WGAN-GP; pure functions of critic values.

`sign` says which images the critic rates high: +1 the real ones, as both papers have it, -1 the
fakes, as the official WGAN code does. With a last layer without bias the two are the same algorithm
with that layer's weights negated. The penalty is `core.losses.gradient_penalty`.
"""

from __future__ import annotations

from torch import Tensor

from core.losses import dis_loss


def critic_value(values: Tensor) -> Tensor:
    """Mean of a batch's values [N], in float32 at least."""
    return dis_loss(values, "wgangp", real=False)


def critic_loss(on_real: Tensor, on_fake: Tensor, sign: float) -> Tensor:
    """What the critic minimises (WGAN paper, eq. 3; Algorithm 1, line 5): its estimate, negated.

    Args:
        on_real: scalar, mean value of real images.
        on_fake: scalar, mean value of fakes.
        sign: see the module's text.
    """
    return sign * (on_fake - on_real)


def generator_loss(on_fake: Tensor, sign: float) -> Tensor:
    """What the generator minimises (Algorithm 1, line 10): -sign * mean value of its fakes."""
    return -sign * on_fake
