"""A preconditioner for the matting system: multigrid on affine colour models.

The matting energy of an image v is small exactly where v is an affine function of the content's
colours whose coefficients vary slowly: v = c . (r, g, b, 1). The slow modes of conjugate gradients
are of this kind, so they are solved for on coarse grids: the unknowns there are models c at nodes
every `SPACING` pixels, interpolated linearly between them. The coarse matrices are the exact
Galerkin products P^T A P, found by probing: models at every third node in each direction do not
meet, so nine products with A reveal all 3 x 3 blocks of 4 x 4 numbers. Coarser grids leave out
every other node; the coarsest system is solved by Cholesky decomposition.

With it a dozen iterations do what took two to three hundred with the diagonal alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from style.photo.stencil import Stencil

SPACING = 8
"""Pixels between two nodes of the finest grid."""
_DIRECT_NODES = 128
"""Most nodes, of 4 unknowns each, that are solved for directly."""
_POWER_ITERATIONS = 20
_RIDGE = 1e-7
"""Part of a block's trace added to it: a flat picture's colours cannot tell models apart."""


def _galerkin(
    apply: Callable[[Tensor], Tensor],
    prolong: Callable[[Tensor], Tensor],
    restrict: Callable[[Tensor], Tensor],
    like: Tensor,
) -> Tensor:
    """Probe the coarse operator for its blocks: [h, w, 3, 3, 4, 4].

    The indices are row node, neighbour, row and column entry.

    Args:
        apply: the fine operator.
        prolong: [4, 4, h, w] models to fine vectors.
        restrict: its transpose.
        like: [h, w], for size, type and device.
    """
    height, width = like.shape
    blocks = like.new_zeros(height, width, 3, 3, 4, 4)
    rows = torch.arange(height, device=like.device)[:, None]
    columns = torch.arange(width, device=like.device)
    for cy in range(3):
        for cx in range(3):
            probes = like.new_zeros(4, 4, height, width)
            probes[range(4), range(4), cy::3, cx::3] = 1
            answers = restrict(apply(prolong(probes)))  # [source entry, target entry, h, w]
            dy, dx = (cy - rows + 1) % 3, (cx - columns + 1) % 3
            blocks[rows, columns, dy, dx] = answers.permute(2, 3, 1, 0).to(like)
    return blocks


def _interpolation(fine: int, like: Tensor) -> Tensor:
    """Return the matrix [fine, fine // 2 + 1] from every other node to all, linear in between."""
    halves = torch.arange(fine, dtype=like.dtype, device=like.device)[:, None] / 2
    return (1 - (halves - torch.arange(fine // 2 + 1, device=like.device)).abs()).clamp_min(0)


class _Grid:
    """A level of models at nodes: its operator, a smoother, and the next coarser level.

    Vectors are [N, 4, h, w] in float64.
    """

    def __init__(self, blocks: Tensor) -> None:
        self.size = blocks.shape[:2]
        height, width = self.size
        trace = blocks[:, :, 1, 1].diagonal(dim1=-2, dim2=-1)
        ridge = _RIDGE * trace + 1e-3 * _RIDGE * trace.mean()
        blocks[:, :, 1, 1] += torch.diag_embed(ridge)
        self._inverse = torch.linalg.inv(blocks[:, :, 1, 1]).permute(2, 3, 0, 1).contiguous()
        self._rows = blocks.permute(4, 5, 2, 3, 0, 1).reshape(4, 36, height, width).contiguous()
        # Below 2 / eigenvalue, or a cycle is not positive definite; 4 / 3 smooths best.
        self._damping = 4 / 3 / self.largest_eigenvalue(_POWER_ITERATIONS)
        self._coarser: _Grid | None = None
        if height * width > _DIRECT_NODES:
            self._down, self._across = (_interpolation(side, blocks) for side in self.size)
            like = blocks.new_empty(self._down.shape[1], self._across.shape[1])
            self._coarser = _Grid(_galerkin(self.apply, self._prolong, self._restrict, like))
        else:
            num = 4 * height * width
            unit = torch.eye(num, dtype=blocks.dtype, device=blocks.device)
            dense = self.apply(unit.view(num, 4, height, width)).flatten(1)
            self._factor = torch.linalg.cholesky((dense + dense.T) / 2)

    def apply(self, x: Tensor) -> Tensor:
        """Multiply by the level's operator."""
        neighbours = F.unfold(x, 3, padding=1).view(len(x), 1, 36, *self.size)
        return (self._rows * neighbours).sum(2)

    def _scaled(self, x: Tensor) -> Tensor:
        """Multiply every node's vector by the inverse of its own block."""
        return (self._inverse * x[:, None]).sum(2)

    def largest_eigenvalue(self, num_iterations: int) -> Tensor:
        """Estimate the largest eigenvalue of the block-scaled operator by the power method."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4, *self.size, generator=generator, dtype=self._rows.dtype)
        x = x.to(self._rows.device)
        for _ in range(num_iterations):
            x = self._scaled(self.apply(x / x.norm()))
        return x.norm()

    def _prolong(self, models: Tensor) -> Tensor:
        return self._down @ models @ self._across.T

    def _restrict(self, x: Tensor) -> Tensor:
        return self._down.T @ x @ self._across

    def solve(self, right: Tensor) -> Tensor:
        """Run one symmetric V-cycle of damped block Jacobi; solve exactly on the coarsest level."""
        if self._coarser is None:
            return torch.cholesky_solve(right.flatten(1).T, self._factor).T.reshape(right.shape)
        x = self._damping * self._scaled(right)
        x = x + self._prolong(self._coarser.solve(self._restrict(right - self.apply(x))))
        return x + self._damping * self._scaled(right - self.apply(x))


class ModelPreconditioner:
    """Diagonal scaling plus the coarse correction by colour models; symmetric positive definite.

    Args:
        system: the operator, in float64.
        colours: [3, H, W], float64: the image that its affinities come from.
        radius: of the matting windows, in pixels.
        dtype: of the vectors it will be applied to.
    """

    def __init__(self, system: Stencil, colours: Tensor, radius: int, dtype: torch.dtype) -> None:
        height, width = colours.shape[1:]
        self._cells = (-(-height // SPACING), -(-width // SPACING))
        self._size = (height, width)
        spread = colours.std((1, 2), keepdim=True).clamp_min(1e-3)
        centred = (colours - colours.mean((1, 2), keepdim=True)) / spread
        self._basis = torch.cat([centred, torch.ones_like(colours[:1])])
        # Flat by radius - 1 pixels around a node, so that second neighbours do not meet through the
        # operator's reach and the coarse operator is exactly one of 3 x 3 blocks.
        ramp = torch.arange(SPACING, dtype=colours.dtype, device=colours.device) - (radius - 1)
        share = (ramp / (SPACING - 1 - 2 * (radius - 1))).clamp(0, 1)
        self._shares = torch.stack([1 - share, share])
        nodes = colours.new_empty(self._cells[0] + 1, self._cells[1] + 1)
        self._grid = _Grid(_galerkin(system, self._prolong, self._restrict, nodes))
        self._scale = system.diagonal.to(dtype)
        self._basis, self._shares = self._basis.to(dtype), self._shares.to(dtype)

    def _prolong(self, models: Tensor) -> Tensor:
        """Interpolate models [N, 4, h, w] at nodes and apply them: vectors [N, H, W]."""
        models, (down, right) = models.to(self._shares), self._cells
        pairs = torch.stack([models[..., :-1], models[..., 1:]], -1)
        wide = (pairs @ self._shares).flatten(3)  # [N, 4, h, cells * SPACING]
        pairs = torch.stack([wide[:, :, :-1], wide[:, :, 1:]], 3)
        full = (self._shares.T @ pairs).view(-1, 4, down * SPACING, right * SPACING)
        height, width = self._size
        return (full[:, :, :height, :width] * self._basis).sum(1)

    def _restrict(self, x: Tensor) -> Tensor:
        """Apply the transpose: vectors [N, H, W] to [N, 4, h, w] in float64."""
        (down, right), (height, width) = self._cells, self._size
        moments = F.pad(
            x[:, None] * self._basis, (0, right * SPACING - width, 0, down * SPACING - height)
        )
        halves = self._shares @ moments.view(-1, 4, down, SPACING, right * SPACING)
        rows = F.pad(halves[:, :, :, 0], (0, 0, 0, 1)) + F.pad(halves[:, :, :, 1], (0, 0, 1, 0))
        halves = rows.view(-1, 4, down + 1, right, SPACING) @ self._shares.T
        return (F.pad(halves[..., 0], (0, 1)) + F.pad(halves[..., 1], (1, 0))).double()

    def coarse(self, residual: Tensor) -> Tensor:
        """Correct [N, H, W] by slowly varying models alone, which is a good first guess."""
        return self._prolong(self._grid.solve(self._restrict(residual)))

    def __call__(self, residual: Tensor) -> Tensor:
        """Approximate the solution [N, H, W] for a residual [N, H, W]."""
        return residual / self._scale + self.coarse(residual)
