"""The one door of this room: networks in, the same networks faster on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from core.cpu import convolutions, norms
from core.cpu.convolutions import Conv2d, ConvTranspose2d
from core.cpu.filters import KeptFilters, watch_optimizers
from core.cpu.memory import keep_freed_memory
from core.nn.norms import InstanceNorm2d, Normalise
from core.nn.padding import MirroredConv2d, ReflectionPad2d
from core.nn.upsampling import DoubledConv2d


class LeftToConvolution(ReflectionPad2d):
    """A padding that the convolution behind it does."""

    def forward(self, input: Tensor) -> Tensor:
        """The image as it is."""
        return input


def accelerate(networks: Iterable[nn.Module], *, winograd: bool, keep_memory: bool) -> None:
    """Make networks faster in place, if they lie on a CPU; parameters, names and results stay.

    Norms are exchanged for ones of few passes (`core.cpu.norms`). Results differ by rounding.

    Args:
        networks: as they are to run: on their device, in their layout. Weights that take no
            gradients now count as never trained: their filters may be larger.
        winograd: exchange convolutions too: wide ones go by minimal filtering
            (`core.cpu.winograd`), those from and to the channels of an image by cells of pixels
            (`core.cpu.narrow`). Reflection padding in front of a wide one, in an `nn.Sequential` or
            as the attribute `pad` beside `conv`, becomes part of it.
        keep_memory: the process keeps what it frees (`core.cpu.memory`).
    """
    networks = list(networks)
    if any(p.device.type != "cpu" for network in networks for p in network.parameters()):
        return
    if keep_memory:
        keep_freed_memory()
    if winograd:
        watch_optimizers()
    for network in networks:
        for module in network.modules():
            if type(module) is InstanceNorm2d:
                module.__class__ = norms.InstanceNorm2d
            elif type(module) is Normalise:
                module.__class__ = norms.Normalise
            elif winograd:
                _exchange_convolution(module)
        if winograd:
            for pad, conv in _padded_convolutions(network):
                pad.__class__, conv.pads = LeftToConvolution, "reflect"


def accelerate_inference(networks: Iterable[nn.Module]) -> None:
    """Make networks that are not trained again as fast on a CPU as they can be, in place.

    They are laid out in channels_last, their parameters take no gradients from now on, and what
    follows from the weights alone (filters, kernels) is worked out once and kept.

    Args:
        networks: with their weights, on their device; on others than a CPU nothing changes.
    """
    networks = list(networks)
    if any(p.device.type != "cpu" for network in networks for p in network.parameters()):
        return
    for network in networks:
        network.requires_grad_(False).to(memory_format=torch.channels_last)
    accelerate(networks, winograd=True, keep_memory=True)


_EXCHANGED = (nn.Conv2d, nn.ConvTranspose2d, MirroredConv2d)


def _exchange_convolution(layer: nn.Module) -> None:
    module: Any = layer
    fixed = not any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    if type(layer) is DoubledConv2d:
        module.__class__ = convolutions.DoubledConv2d
        module.kept = KeptFilters(fixed=True) if fixed else None
    elif type(layer) in _EXCHANGED and convolutions.can_do(layer):
        if type(layer) is MirroredConv2d:
            module.pads = "reflect"
        module.__class__ = Conv2d if isinstance(layer, nn.Conv2d) else ConvTranspose2d
        module.fixed, module.kept = fixed, KeptFilters(fixed)


def _padded_convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, Conv2d]]:
    for module in network.modules():
        couples: Iterable[tuple[Any, Any]] = [
            (getattr(module, "pad", None), getattr(module, "conv", None))
        ]
        if isinstance(module, nn.Sequential):
            couples = pairwise(module)
        for pad, conv in couples:
            narrow = type(pad) is ReflectionPad2d and pad.padding == (1, 1, 1, 1)
            wide = isinstance(conv, Conv2d) and conv.kernel_size == (3, 3) and conv.stride == (1, 1)
            if narrow and wide and conv.padding == (0, 0):
                yield pad, conv
