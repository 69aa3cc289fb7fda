"""Matting: our solver against a sparse direct one on the same system, in one run.

Both get the same affinities, made by us; what is timed is what each does from there to the smoothed
picture, and for ours the making of the affinities too. The direct solver is SciPy's SuperLU with
its default ordering: what the official code falls back to where UMFPACK is not installed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.procedural.scene import draw_scene
from core.procedural.seasons import render
from core.runtime.processes import run_in_subprocess
from core.runtime.progress import peak_memory_bytes
from core.training.benchmark import machine
from style.photo.config import Matting
from style.photo.matting import matting_system, propagate

OPTIONS = Matting()
_CPU = torch.device("cpu")
_Solver = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, float]]]


def pictures(size: int) -> tuple[Tensor, Tensor]:
    """Draw a stylised image and its content, [3, size, size] in [0, 1], float64.

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
    both = torch.from_numpy(np.stack([stylised, content]).clip(0, 255) / 255).permute(0, 3, 1, 2)
    return both[0], both[1]


def solve_directly(stylised: Tensor, content: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Smooth by sparse LU; also return the seconds of making the matrix and of solving."""
    try:
        from scipy import sparse  # noqa: PLC0415  (reference only: not needed to run anything)
        from scipy.sparse.linalg import splu  # noqa: PLC0415
    except ImportError:
        raise UserError(
            "--smoothing compares with SciPy, which is not installed: pip install scipy"
        ) from None
    start = time.perf_counter()
    system, degree = matting_system(content.double(), OPTIONS)
    places = np.arange(degree.numel()).reshape(degree.shape)
    rows, columns, values = [places.ravel()], [places.ravel()], [system.diagonal.numpy().ravel()]
    for plane, here, there in system.pairs:
        rows += [places[here].ravel(), places[there].ravel()]
        columns += [places[there].ravel(), places[here].ravel()]
        values += [plane.numpy().ravel()] * 2
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = sparse.csc_matrix(entries, shape=(places.size, places.size))
    made = time.perf_counter()
    root = degree.sqrt()
    right = (root * stylised.double()).flatten(1).numpy().T
    solution = torch.from_numpy(splu(matrix).solve(np.ascontiguousarray(right)).T.copy())
    result = (1 - OPTIONS.beta) * root * solution.view_as(stylised)
    return result, {"matrix_seconds": made - start, "seconds": time.perf_counter() - made}


def _solve(stylised: Tensor, content: Tensor) -> tuple[Tensor, dict[str, float]]:
    start = time.perf_counter()
    result = propagate(stylised.float(), content, OPTIONS)
    return result, {"seconds": time.perf_counter() - start}


def _measured(solver: _Solver, size: int, threads: int) -> tuple[Any, dict[str, float]]:
    torch.set_num_threads(threads)
    before = peak_memory_bytes(_CPU)
    try:
        result, numbers = solver(*pictures(size))
    except (MemoryError, RuntimeError) as error:  # SuperLU tells of too little memory by both
        raise UserError(str(error)) from None
    # As an array: a tensor would stay in this process's memory.
    return result.numpy(), numbers | {"peak_memory_bytes": peak_memory_bytes(_CPU) - before}


def benchmark_smoothing(sizes: list[int], repeats: int, largest_direct: int) -> dict[str, Any]:
    """Measure seconds, memory and agreement for each size (square pictures).

    Every solution is made in a process of its own, so that its peak of memory is its own. Sizes are
    in pixels. Ours is repeated, and the median counts; the direct solver runs once, up to the size
    `largest_direct`.
    """
    report: dict[str, Any] = {}
    threads = torch.get_num_threads()
    for size in sizes:
        try:
            runs = [run_in_subprocess(_measured, _solve, size, threads) for _ in range(repeats)]
        except UserError as error:
            raise UserError(f"--smoothing {size}: {error}") from None
        seconds = statistics.median(numbers["seconds"] for _, numbers in runs)
        memory = runs[0][1]["peak_memory_bytes"]
        entry: dict[str, Any] = {"ours": {"seconds": seconds, "peak_memory_bytes": memory}}
        if size <= largest_direct:
            try:
                direct, entry["direct"] = run_in_subprocess(
                    _measured, solve_directly, size, threads
                )
                entry["mean_abs_difference"] = float(np.abs(runs[-1][0] - direct).mean())
                entry["ratio"] = entry["direct"]["seconds"] / seconds
            except UserError as error:
                entry["direct"] = {"error": str(error)}
        report[str(size)] = entry
    return machine(_CPU) | {"beta": OPTIONS.beta, "sizes": report}
