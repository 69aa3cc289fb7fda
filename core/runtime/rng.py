"""Seed every random generator of a process, save their states, bring them back."""

import os
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch (CPU and every GPU); processes should pass different seeds.

    `deterministic` also allows only deterministic kernels.
    """
    if deterministic:
        # cuBLAS is deterministic only with a fixed workspace, which it reads when first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)  # imports the compiler, which takes long
    torch.backends.cudnn.benchmark = not deterministic


def get_torch_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return the state of torch's generators on the CPU and on a GPU."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_gpu


def set_torch_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    """Bring back what `get_torch_state` returned."""
    on_cpu, on_gpu = state
    torch.set_rng_state(on_cpu)
    if device.type == "cuda" and on_gpu is not None:
        torch.cuda.set_rng_state(on_gpu, device)


def get_state(device: torch.device) -> dict[str, Any]:
    """Return the states of this process's generators, as tensors and plain containers."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, gauss_next = random.getstate()
    on_cpu, on_gpu = get_torch_state(device)
    return {
        "torch": on_cpu,
        "cuda": on_gpu,
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, torch.tensor(words), gauss_next],
    }


def set_state(state: dict[str, Any], device: torch.device) -> None:
    """Bring back what `get_state` returned."""
    set_torch_state((state["torch"], state["cuda"]), device)
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, gauss_next = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
