"""Memory for what a layer needs only while it runs, shared by all layers.

Such tensors come between activations that live until the way back. Taken from the heap and given
back, they leave holes that the next layer's do not fit into: a third of a step's peak memory.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

LARGEST = 2**26
"""Bytes of a tensor that is held; a larger one is made anew, for there are few of them."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.tensors: dict[tuple[str, torch.dtype], Tensor] = {}


_held = _Held()


def scratch(place: str, *shape: int, like: Tensor) -> Tensor:
    """Return a contiguous tensor of any content, which the next call for `place` overwrites.

    Args:
        place: names tensors that are never needed at the same time; each thread has its own.
        shape: of the tensor.
        like: for type and device.
    """
    number = math.prod(shape)
    if number * like.element_size() > LARGEST:
        return like.new_empty(shape)
    key = place, like.dtype
    held = _held.tensors.get(key)
    if held is None or held.numel() < number:
        _held.tensors.pop(key, None)  # given back first
        with torch.inference_mode(False):  # what inference makes cannot serve a training
            held = _held.tensors[key] = torch.empty(number, dtype=like.dtype)
    return held[:number].view(shape)
