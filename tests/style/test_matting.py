"""The matrix-free solver: against a sparse direct solve, and on awkward pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import UserError
from style.photo.benchmark import OPTIONS, pictures, solve_directly
from style.photo.config import Matting
from style.photo.matting import affinity, conjugate_gradients, matting_system, propagate
from style.photo.multigrid import ModelPreconditioner
from style.photo.stencil import Stencil, half_offsets

scipy = pytest.importorskip("scipy")


def images(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Stylised image and content, cut from the benchmark's landscape."""
    stylised, content = pictures(max(height, width))
    return stylised[:, :height, :width], content[:, :height, :width]


@pytest.mark.parametrize(("height", "width"), [(96, 96), (61, 83), (24, 130)])
def test_agrees_with_a_direct_solve(height: int, width: int) -> None:
    stylised, content = images(height, width)
    direct, _ = solve_directly(stylised, content)
    exact = propagate(stylised, content, Matting(tolerance=1e-9))
    torch.testing.assert_close(exact, direct, rtol=0, atol=1e-7)
    quick = propagate(stylised.float(), content, OPTIONS)
    assert quick.dtype is torch.float32
    assert (quick - direct).abs().mean() < 1e-3
    assert (quick - direct).square().mean().sqrt() < 2e-3, "the tolerance is a bound"


@pytest.mark.parametrize("even", [True, False])
def test_a_colour_map_of_the_content_stays(even: bool) -> None:
    """What is affine in the content's colours is as smooth as the content already.

    As published, D^1/2 times it is. The regulariser counts 1 / (1 - beta) times, so it is tiny.
    """
    content = torch.rand(3, 40, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.6, 0.1], [0.0, 0.3, 0.4]]).double()
    mapped = torch.einsum("ij,jhw->ihw", matrix, content) + 0.1
    if not even:
        mapped = mapped * affinity(content)[1].sqrt()
    smooth = propagate(mapped, content, Matting(epsilon=1e-12, tolerance=1e-9), even=even)
    torch.testing.assert_close(smooth, mapped, rtol=0, atol=1e-6)


def test_flat_content_averages() -> None:
    noise = torch.rand(3, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = torch.full((3, 20, 30), 0.5, dtype=torch.float64)
    smooth = propagate(noise, flat, Matting(tolerance=1e-8), even=True)
    assert (smooth.std((1, 2)) < 0.05 * noise.std((1, 2))).all()
    published = propagate(noise, flat, Matting(tolerance=1e-8)) / affinity(flat)[1].sqrt()
    assert (published.std((1, 2)) < 0.05 * noise.std((1, 2))).all()


@pytest.mark.parametrize(("height", "width"), [(3, 3), (3, 50), (8, 9), (17, 16)])
def test_tiny_pictures(height: int, width: int) -> None:
    stylised, content = images(height, width)
    direct, _ = solve_directly(stylised, content)
    torch.testing.assert_close(
        propagate(stylised, content, Matting(tolerance=1e-9)), direct, rtol=0, atol=1e-7
    )


def system(height: int, width: int, radius: int = 1) -> tuple[Stencil, Tensor, Tensor]:
    _, content = images(height, width)
    operator, degree = matting_system(content, Matting(radius=radius))
    return operator, content, degree


def dense(operator: object, height: int, width: int) -> Tensor:
    unit = torch.eye(height * width, dtype=torch.float64).view(-1, height, width)
    return operator(unit).flatten(1)  # type: ignore[operator]


@pytest.mark.parametrize("radius", [1, 2])
def test_affinity_is_symmetric_and_its_rows_count_windows(radius: int) -> None:
    _, content = images(11, 14)
    weights, degree = affinity(content, radius=radius)
    assert len(weights.planes) == len(half_offsets(2 * radius))
    matrix = dense(weights, 11, 14)
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.sum(1), degree.flatten())
    assert torch.linalg.eigvalsh(matrix).min() > -1e-9


@pytest.mark.parametrize("radius", [1, 2])
def test_preconditioner_is_symmetric_positive_definite_and_good(radius: int) -> None:
    height, width = 27, 34
    operator, content, _ = system(height, width, radius)
    precondition = ModelPreconditioner(operator, content, radius, torch.float64)
    inverse = dense(precondition, height, width)
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-7, atol=1e-7 * inverse.abs().max())
    matrix = dense(operator, height, width)
    factor = torch.linalg.cholesky((inverse + inverse.T) / 2)
    spectrum = torch.linalg.eigvalsh(factor.T @ matrix @ factor)
    assert spectrum.min() > 0
    plain = torch.linalg.eigvalsh(
        matrix / operator.diagonal.flatten().sqrt().outer(operator.diagonal.flatten().sqrt())
    )
    assert spectrum.max() / spectrum.min() < 0.1 * plain.max() / plain.min()


@pytest.mark.parametrize("name", ["dots", "lines"])
def test_converges_on_sparse_marks(name: str) -> None:
    """White marks on black: coarse operators whose scaled spectrum reaches beyond 3."""
    content = torch.zeros(3, 104, 104, dtype=torch.float64)
    if name == "dots":
        places = torch.rand(104, 104, generator=torch.Generator().manual_seed(0)) > 0.97
        content[:, places] = 1
    else:
        content[:, ::7] = 1
        content[:, :, ::11] = 0.3
    operator, _ = matting_system(content, OPTIONS)
    precondition = ModelPreconditioner(operator, content, 1, torch.float64)
    grid = precondition._grid
    assert float(grid._damping * grid.largest_eigenvalue(300)) < 1.8, "2 would be the end"
    stylised, _ = images(104, 104)
    direct, _ = solve_directly(stylised, content)
    assert (propagate(stylised.float(), content, OPTIONS) - direct).abs().mean() < 1e-3


def test_a_fraction_of_the_products() -> None:
    """What the coarse models save against the diagonal alone, to the same error."""
    stylised, content = images(160, 128)
    operator, _, degree = system(160, 128)
    precondition = ModelPreconditioner(operator, content, 1, torch.float64)
    right = degree.sqrt() * stylised
    products = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return operator(x)

    energy = 2e-3 * (right.numel() / (1 - OPTIONS.beta)) ** 0.5
    conjugate_gradients(counted, right, precondition.coarse(right), precondition, energy)
    with_models, products = products, 0
    conjugate_gradients(counted, right, right, lambda r: r / operator.diagonal, energy)
    assert with_models <= 45
    assert with_models < products / 5


def test_no_convergence_is_an_error() -> None:
    operator, content, _ = system(16, 16)
    with pytest.raises(UserError, match="tolerance"):
        conjugate_gradients(
            lambda x: operator(x) * float(np.inf), content, content, lambda r: r, 1e-3
        )
