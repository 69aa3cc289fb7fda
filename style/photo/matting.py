"""Photorealistic smoothing: stylised colours spread along the content's structure.

FastPhotoStyle (Li, Liu, Li, Yang, Kautz, ECCV 2018), section 3.2, official `photo_smooth.py`:
manifold ranking (Zhou et al. 2004) with the affinities of closed-form matting (Levin et al. 2006).
With affinity W, its row sums D and the stylised image B, the result is

    V = (1 - beta) (I - beta D^-1/2 W D^-1/2)^-1 B = (1 - beta) D^1/2 (D - beta W)^-1 D^1/2 B.

Its fixed points are multiples of D^1/2: as pixels near the border are in fewer windows, they come
out darker and the rest a little brighter, visibly in small pictures. `even` takes D^-1 W instead,
of which a flat picture is a fixed point; the system is the same.

Deviations from the official code, none of which changes the solution: no sparse matrix and no LU
decomposition, but preconditioned conjugate gradients (`stencil`, `multigrid`); the affinities come
from window colours with their mean removed first, so that the regulariser of 1e-8 is not lost.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from core.errors import UserError
from style.photo.config import Matting
from style.photo.multigrid import ModelPreconditioner
from style.photo.stencil import Stencil, half_offsets

_STRIP_PIXELS = 1 << 16
"""Windows handled at once when the affinities are made: what fits a cache."""
_CHECK_EVERY = 4
_MAX_ITERATIONS = 2000


def _whitened(colours: list[Tensor], ridge: float) -> list[Tensor]:
    """Multiply window colours [3, h, w] per place by L^-1; L L^T is their covariance + `ridge`."""
    mean = torch.stack(colours).mean(0)
    centred = [colour - mean for colour in colours]

    def covariance(i: int, j: int) -> Tensor:
        return sum((c[i] * c[j] for c in centred), torch.zeros_like(mean[0])) / len(centred)

    l00 = (covariance(0, 0) + ridge).sqrt()
    l10, l20 = covariance(1, 0) / l00, covariance(2, 0) / l00
    l11 = (covariance(1, 1) + ridge - l10 * l10).sqrt()
    l21 = (covariance(2, 1) - l20 * l10) / l11
    l22 = (covariance(2, 2) + ridge - l20 * l20 - l21 * l21).sqrt()
    whitened = []
    for r, g, b in centred:
        x = r / l00
        y = (g - l10 * x) / l11
        whitened.append(torch.stack([x, y, (b - l20 * x - l21 * y) / l22]))
    return whitened


def affinity(image: Tensor, *, radius: int = 1, epsilon: float = 1e-7) -> tuple[Stencil, Tensor]:
    """Make the affinities of closed-form matting (Levin et al. 2006, eq. 12, without the sign).

    Every window wholly inside the image adds (1 + (I_i - m)^T (Cov + epsilon / n)^-1 (I_j - m)) / n
    for every pair of its n pixels.

    Args:
        image: [3, H, W] in [0, 1], float64, sides at least 2 * radius + 1.
        radius: windows are 2 * radius + 1 pixels wide.
        epsilon: regulariser of the colour covariance.

    Returns:
        The affinity W, and its row sums [H, W]: the number of windows that contain a pixel.
    """
    _, height, width = image.shape
    side = 2 * radius + 1
    places = list(product(range(side), repeat=2))
    offsets = {offset: k for k, offset in enumerate(half_offsets(2 * radius))}
    planes = image.new_zeros(len(offsets), height, width)
    degree = image.new_zeros(height, width)
    down, right = height - side + 1, width - side + 1
    strip = max(1, _STRIP_PIXELS // right)
    for top in range(0, down, strip):
        bottom = min(top + strip, down)
        spots = [(slice(top + y, bottom + y), slice(x, x + right)) for y, x in places]
        whitened = _whitened([image[:, *spot] for spot in spots], epsilon / side**2)
        for spot in spots:
            degree[spot] += 1
        for p, q in combinations_with_replacement(range(len(places)), 2):
            offset = (places[q][0] - places[p][0], places[q][1] - places[p][1])
            pair = ((whitened[p] * whitened[q]).sum(0) + 1) / side**2
            planes[offsets[offset]][spots[p]] += pair
    return Stencil(planes, 2 * radius), degree


def matting_system(image: Tensor, options: Matting) -> tuple[Stencil, Tensor]:
    """Make D - beta W, and D [H, W], of an image as `affinity` takes it."""
    weights, degree = affinity(image, radius=options.radius, epsilon=options.epsilon)
    planes = weights.planes.mul_(-options.beta)
    planes[0] += degree
    return Stencil(planes, weights.reach), degree


def conjugate_gradients(
    system: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
) -> Tensor:
    """Solve for several right-hand sides [N, H, W] at once.

    Args:
        system: symmetric positive definite, on [N, H, W].
        right: what the system is to give.
        start: first guess.
        precondition: symmetric positive definite.
        tolerance: stop when the energy norm of the error, sqrt(e^T A e) over all N, is below: by
            the sum of the last steps' decreases (Hestenes and Stiefel 1952, theorem 6:1).

    Raises:
        UserError: no convergence.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((1, 2), keepdim=True)

    x, residual = start, right - system(start)
    z = precondition(residual)
    direction, rho = z, dot(residual, z)
    tiny = torch.finfo(right.dtype).tiny
    decreases: list[Tensor] = []
    for step in range(1, _MAX_ITERATIONS + 1):
        applied = system(direction)
        length = rho / dot(direction, applied).clamp_min(tiny)
        x = x + length * direction
        residual = residual - length * applied
        decreases.append((length * rho).sum())
        if step % _CHECK_EVERY == 0:
            energy = torch.stack(decreases[-_CHECK_EVERY:]).sum()
            if float(energy) <= tolerance**2:
                return x
        z = precondition(residual)
        previous, rho = rho, dot(residual, z)
        direction = z + rho / previous.clamp_min(tiny) * direction
    raise UserError(
        f"matting.tolerance: {tolerance:.1e} (energy norm) is not reached in {_MAX_ITERATIONS} "
        f"iterations with {right.dtype}; allow more"
    )


def propagate(stylised: Tensor, content: Tensor, options: Matting, *, even: bool = False) -> Tensor:
    """Make `stylised` as smooth as `content` is.

    Args:
        stylised: [3, H, W] in [0, 1], float32 or float64: the type that is iterated in.
        content: [3, H, W] in [0, 1] (its affinities are always made in float64).
        options: of the system and its solution.
        even: normalise by D^-1 W, so that brightness stays, instead of as published.

    Returns:
        [3, H, W], not clipped.
    """
    colours = content.double()
    exact, degree = matting_system(colours, options)
    precondition = ModelPreconditioner(exact, colours, options.radius, stylised.dtype)
    system = Stencil(exact.planes.to(stylised.dtype), exact.reach)
    before, after = (degree, torch.ones_like(degree)) if even else (degree.sqrt(),) * 2
    right = before.to(stylised) * stylised
    # D - beta W >= (1 - beta) D: the squared error is at most 1 - beta times the energy.
    energy = options.tolerance * (stylised.numel() / (1 - options.beta)) ** 0.5
    solution = conjugate_gradients(system, right, precondition.coarse(right), precondition, energy)
    return (1 - options.beta) * after.to(stylised) * solution
