"""Matting: our solver against a sparse direct one on the same system, in one run.

Both get the same affinities, made by us; what is timed is what each does from there to the smoothed
picture, and for ours the making of the affinities too. The direct solver is SciPy's SuperLU with
its default ordering: what the official code falls back to where UMFPACK is not installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.procedural.scene import draw_scene
from core.procedural.seasons import render
from core.runtime.processes import apart
from core.runtime.progress import peak_memory_bytes
from core.training.benchmark import machine
from style.photo.matting import affinity, propagate
from style.photo.stencil import Stencil, half_offsets

BETA = 0.9999
_CPU = torch.device("cpu")


def pictures(size: int) -> tuple[Tensor, Tensor]:
    """Stylised image and content, [3, size, size] in [0, 1].

    A painted landscape in summer with camera noise; the same in winter with coarse stains and more
    noise, as a stylisation leaves them.
    """
    rng = np.random.default_rng(0)
    scene = draw_scene(0)
    content = render(scene, "summer", size).astype(np.float64)
    stylised = render(scene, "winter", size).astype(np.float64)
    content = np.floor(np.clip(content + rng.normal(0, 2, content.shape), 0, 255) + 0.5)
    stains = rng.normal(0, 20, (-(-size // 16), -(-size // 16), 3)).repeat(16, 0).repeat(16, 1)
    stylised = stylised + stains[:size, :size] + rng.normal(0, 8, stylised.shape)
    as_planes = (
        torch.from_numpy(np.clip(x, 0, 255) / 255).permute(2, 0, 1) for x in (stylised, content)
    )
    return tuple(as_planes)  # type: ignore[return-value]


def sparse_system(content: Tensor, beta: float = BETA) -> tuple[Any, Tensor]:
    """D - beta W as a SciPy CSC matrix, and D [H, W]."""
    try:
        from scipy import sparse  # noqa: PLC0415  (reference only: not needed to run anything)
    except ImportError:
        raise UserError(
            "--smoothing compares with SciPy, which is not installed: pip install scipy"
        ) from None
    weights, degree = affinity(content.double())
    planes = weights.planes * -beta
    planes[0] += degree
    system = Stencil(planes, weights.reach)
    height, width = degree.shape
    places = np.arange(height * width).reshape(height, width)
    rows, columns, values = [places.ravel()], [places.ravel()], [planes[0].numpy().ravel()]
    for plane, here, there in system.pairs:
        rows += [places[here].ravel(), places[there].ravel()]
        columns += [places[there].ravel(), places[here].ravel()]
        values += [plane.numpy().ravel()] * 2
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    assert len(system.pairs) < len(half_offsets(weights.reach))
    return sparse.csc_matrix(entries, shape=(places.size, places.size)), degree


def solve_directly(
    stylised: Tensor, content: Tensor, beta: float = BETA
) -> tuple[Tensor, float, float]:
    """The smoothed picture by sparse LU, and the seconds of making the matrix and of solving."""
    start = time.perf_counter()
    matrix, degree = sparse_system(content, beta)
    made = time.perf_counter()
    from scipy.sparse.linalg import splu  # noqa: PLC0415

    root = degree.sqrt()
    right = (root * stylised.double()).flatten(1).numpy().T
    solution = splu(matrix).solve(np.ascontiguousarray(right))
    result = (1 - beta) * root * torch.from_numpy(solution.T.copy()).view_as(stylised)
    return result, made - start, time.perf_counter() - made


def _direct(size: int, path: str) -> dict[str, float]:
    result, made, solved = solve_directly(*pictures(size))
    np.save(path, result.numpy())
    return {"matrix_seconds": made, "seconds": solved}


def _ours(size: int, path: str) -> dict[str, float]:
    stylised, content = pictures(size)
    start = time.perf_counter()
    result = propagate(stylised.float(), content, beta=BETA)
    seconds = time.perf_counter() - start
    np.save(path, result.numpy())
    return {"seconds": seconds}


def _measured(
    work: Callable[[int, str], dict[str, float]], size: int, path: str, threads: int
) -> dict[str, float]:
    torch.set_num_threads(threads)
    before = peak_memory_bytes(_CPU)
    try:
        numbers = work(size, path)
    except (MemoryError, RuntimeError) as error:  # SuperLU tells of too little memory by both
        raise UserError(str(error)) from None
    return numbers | {"peak_memory_bytes": peak_memory_bytes(_CPU) - before}


def _in_process(
    work: Callable[[int, str], dict[str, float]], size: int, path: str
) -> dict[str, Any]:
    """Run `work` in a process of its own, so that its peak of memory is its own."""
    try:
        return dict(apart(_measured, work, size, path, torch.get_num_threads()))
    except UserError as error:
        return {"error": str(error)}


def benchmark_smoothing(
    sizes: list[int], folder: str, repeats: int, largest_direct: int
) -> dict[str, Any]:
    """Seconds, memory and agreement for each size (square pictures).

    Args:
        sizes: sides in pixels.
        folder: for the solutions that are compared.
        repeats: of ours; the median counts. The direct solver runs once.
        largest_direct: sizes above it are solved by ours alone.
    """
    report: dict[str, Any] = {}
    for size in sizes:
        ours = [_in_process(_ours, size, f"{folder}/ours.npy") for _ in range(repeats)]
        if any("error" in numbers for numbers in ours):
            raise UserError(f"--smoothing {size}: {ours[-1].get('error')}")
        entry: dict[str, Any] = {
            "ours": {
                "seconds": float(np.median([numbers["seconds"] for numbers in ours])),
                "peak_memory_bytes": ours[0]["peak_memory_bytes"],
            }
        }
        if size <= largest_direct:
            direct = _in_process(_direct, size, f"{folder}/direct.npy")
            entry["direct"] = direct
            if "error" not in direct:
                a, b = (np.load(f"{folder}/{name}.npy") for name in ("ours", "direct"))
                entry["mean_abs_difference"] = float(np.abs(a - b).mean())
                entry["ratio"] = direct["seconds"] / entry["ours"]["seconds"]
        report[str(size)] = entry
    return machine(_CPU) | {"beta": BETA, "sizes": report}
