"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from core.errors import UserError
from core.runtime.distributed import pick_device


def test_devices_by_name() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="--device gpu: unknown; take auto, cpu, cuda"):
        pick_device("gpu")
    with pytest.raises(UserError, match="--device meta: unknown"):
        pick_device("meta")
    if not torch.accelerator.is_available():
        assert pick_device() == torch.device("cpu")
        for kind in ("cuda", "mps", "xpu"):
            with pytest.raises(UserError, match=f"no usable {kind} device; use --device cpu"):
                pick_device(kind)
