"""The student as the project carries it: `vgg16_student.safetensors`, in float16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.checkpoints.official_files import read_states
from core.checkpoints.official_layout import build_official
from core.checkpoints.store import load_network
from core.nn.student import WEIGHTS
from core.options import Direction
from style.distil.family import Distillation


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {`student`: state dict} from the file, or from the folder that holds it."""
    return read_states({"student": path / WEIGHTS.name if path.is_dir() else path})


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> Distillation:
    """Build a training family with the carried student; `direction` means nothing.

    Raises:
        UserError: keys or shapes disagree.
    """
    family = build_official(Distillation, {}, source)
    state = {key: value.float() for key, value in states["student"].items()}
    load_network(family.student, state, "student", source)
    return family


def to_files(family: Distillation) -> dict[str, dict[str, Tensor]]:
    """Return {`vgg16_student.safetensors`: state dict}, for `core/nn/weights/`."""
    state = family.student.state_dict()
    return {WEIGHTS.name: {key: value.to(torch.float16) for key, value in state.items()}}
