"""An alarm for CycleGAN training: has the generator learnt the photographic negative?

A pair of generators that both invert colours satisfies cycle consistency perfectly, and early in
training the discriminators may not object. Losses look healthy; the pictures are negatives. The
correlation of input and output luminance tells at a glance.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALARM_BELOW = -0.3
"""A batch mean below this is worth a warning. Honest translations (horse to zebra, summer to
winter) keep most of the layout and stay above 0, although a single image may dip below."""


def _luminance(images: Tensor) -> Tensor:
    """Rec. 601 luma of RGB, the plain mean of any other number of channels; [N, H * W]."""
    images = images.double()
    if images.shape[1] == 3:
        weights = images.new_tensor([0.299, 0.587, 0.114])
        return torch.einsum("nchw,c->nhw", images, weights).flatten(1)
    return images.mean(dim=1).flatten(1)


def color_inversion(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation of the luminance of input and translation, per image.

    Near 1 the translation keeps light light and dark dark; near -1 it is the colour-inverted
    input. See `ALARM_BELOW`.

    Args:
        x: Input, [N, C, H, W], any range, float or uint8.
        y: Translation, [N, C', H, W]; the result does not depend on scale and offset.

    Returns:
        [N], float64, in [-1, 1]; 0 where either image is flat.

    Raises:
        ValueError: If the shapes differ in more than the number of channels.
    """
    if x.ndim != 4 or y.ndim != 4 or x.shape[0] != y.shape[0] or x.shape[2:] != y.shape[2:]:
        raise ValueError(
            f"color_inversion: [N, C, H, W] of equal N, H, W needed, got {x.shape} and {y.shape}"
        )
    a, b = (light - light.mean(dim=1, keepdim=True) for light in (_luminance(x), _luminance(y)))
    norms = a.norm(dim=1) * b.norm(dim=1)
    # Rounding leaves a flat image a norm of about 1e-13, not 0.
    flat = norms < 1e-9
    return torch.where(flat, 0.0, (a * b).sum(dim=1) / norms.clamp_min(1e-9)).clamp(-1.0, 1.0)
