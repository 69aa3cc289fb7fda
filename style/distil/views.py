"""What the student is shown: views of pictures, and pictures on their way to another's style."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nn.student import VGGStudent
from style.losses import gram_matrices, relative_distance

_LARGEST = 2.0
"""Factor by which a view may be enlarged: photos are smoother than their small copies."""
_STEPS = 2
_SIZES = (0.02, 0.12)
"""Root mean square of a step of `painted`, least and most; images have [-1, 1]."""


def views(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Cut a random square of random size from each of [N, 3, H, W]: [N, 3, side, side].

    A quarter of them have their colour channels in another order, a sixth are negatives.
    """
    made = []
    for image in images:
        most = min(image.shape[-2:])
        draw = torch.rand(5, generator=generator).tolist()
        size = int(side / _LARGEST * (most * _LARGEST / side) ** draw[0])
        top, left = (int(draw[1 + k] * (image.shape[-2 + k] - size + 1)) for k in range(2))
        view = image[None, :, top : top + size, left : left + size]
        view = F.interpolate(view, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
        if draw[3] < 0.25:
            view = view[:, torch.randperm(3, generator=generator)]
        made.append(-view if draw[4] < 1 / 6 else view)
    return torch.cat(made)


def painted(student: VGGStudent, images: Tensor, generator: torch.Generator) -> Tensor:
    """Move pictures some steps towards each other's style, as the student sees it.

    There its errors lead an optimisation, so there it must be right (cf. Goodfellow et al. 2015).
    Every other picture starts from itself under noise.

    Args:
        student: frozen meanwhile.
        images: [N, 3, H, W] in [-1, 1]; each goes towards the one before it.
        generator: of the draws.
    """
    num = len(images)
    noise = torch.randn(images.shape, generator=generator).to(images)
    share = torch.rand(num, 1, 1, 1, generator=generator).to(images)
    share[::2] = 0
    low, high = _SIZES
    size = low * (high / low) ** torch.rand(num, 1, 1, 1, generator=generator).to(images)
    x = (1 - share) * images + 0.5 * share * noise
    names = tuple(student.heads)
    with torch.no_grad():
        targets = {
            name: gram.roll(1, 0) for name, gram in gram_matrices(student(images, names)).items()
        }
    for _ in range(_STEPS):
        x = x.detach().requires_grad_()
        found = gram_matrices(student(x, names))
        distances = [relative_distance(found[name], targets[name]).sum() for name in names]
        (gradient,) = torch.autograd.grad(torch.stack(distances).sum(), x)
        length = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        x = (x - size * gradient / length.clamp_min(1e-20)).clamp(-1.2, 1.2)
    return x.detach()
