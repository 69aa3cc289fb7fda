"""The noise that training steps draw."""

from __future__ import annotations

import torch
from torch import Tensor


def normal(like: Tensor, *shape: int) -> Tensor:
    """Draw noise from N(0, 1) on the device of `like` and of its type, but at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.randn(shape, device=like.device, dtype=dtype)
