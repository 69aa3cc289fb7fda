"""What `train.speed: auto` takes for a device: the same mathematics, arranged for it."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.errors import UserError
from core.options import TrainOptions

WIDE = 96
"""Channels of most weights from which on other arrangements than torch's gain on any processor."""
_NAMES = {
    "channels_last": "channels_last",
    "winograd": "each convolution the way that is fastest for its shape",
    "keep_memory": "freed memory kept",
}


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than fp32: GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_amx_tile_supported())


def emulates_bf16(device: torch.device) -> bool:
    """Whether a processor has no bf16 instructions at all."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def arranged(
    options: TrainOptions, networks: Sequence[nn.Module], device: torch.device
) -> TrainOptions:
    """Decide the switches that the options leave open; those that are given stay.

    On a CPU in fp32, wide networks take everything there is. Narrow ones gain a tenth with AVX-512
    or batch norm, and lose some percent without either: they stay as torch has them. On a GPU
    channels_last suits half precision without instance norms, which would undo it.

    Args:
        options: as given.
        networks: of the family.
        device: where to train.

    Raises:
        UserError: the processor would emulate bf16.
    """
    if options.precision == "bf16" and emulates_bf16(device):
        raise UserError(
            "train.precision: bf16: this processor has no bf16 instructions and would emulate "
            "them, about 35 times slower; use fp32"
        )
    auto = options.speed == "auto"
    modules = [module for network in networks for module in network.modules()]
    batch_norm = any(isinstance(module, _BatchNorm) for module in modules)
    wide = _width(networks) >= WIDE
    if device.type == "cpu":
        pays = auto and options.precision == "fp32" and (wide or batch_norm or _has_avx512())
        open_ones = {"channels_last": pays, "winograd": pays, "keep_memory": pays and wide}
    else:
        instance_norm = any(isinstance(module, nn.InstanceNorm2d) for module in modules)
        half = auto and options.precision != "fp32" and not instance_norm
        open_ones = {"channels_last": half, "winograd": False, "keep_memory": False}
    taken = {key: value for key, value in open_ones.items() if getattr(options, key) is None}
    return options.model_copy(update=taken)


def told(taken: TrainOptions, device: torch.device) -> str:
    """Say in one line what `arranged` has taken."""
    names = [text for key, text in _NAMES.items() if getattr(taken, key)]
    line = "speed: " + (", ".join(names) or "as torch has it")
    if taken.precision == "fp32" and taken.speed == "auto" and has_fast_bf16(device):
        line += "; train.precision=bf16 would be faster still here, with fewer digits"
    return line


def _width(networks: Sequence[nn.Module]) -> float:
    """Return the mean number of channels in convolutions, by weights."""
    weights = [p for network in networks for p in network.parameters() if p.dim() == 4]
    number = sum(w.numel() for w in weights)
    return sum(w.numel() * min(w.shape[:2]) for w in weights) / max(1, number)


def _has_avx512() -> bool:
    return "AVX512" in torch.backends.cpu.get_cpu_capability()
