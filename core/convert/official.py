"""Between official checkpoint files and ours; what is in them is the family's `official.py`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from typing import Any, Protocol

import torch

from core.checkpoints import store
from core.family import Family, FamilyTable
from core.inference.loading import load_family
from core.options import Direction
from core.report.pictures import write_file


class OfficialModule(Protocol):
    """What a family's `official.py` offers."""

    def read(self, path: Path) -> Mapping[str, Any]:
        """Read {official network name: state dict} from the file or files at a path."""

    def from_official(self, states: Mapping[str, Any], direction: Direction, source: object) -> Any:
        """Make a family with these networks."""

    def to_files(self, family: Any) -> Mapping[str, Mapping[str, Any]]:
        """Return {file name: content}."""


def import_official(
    source: Path, output: Path, module: OfficialModule, direction: Direction
) -> Path:
    """Write a checkpoint for `scripts/test.py` from official files; returns its path."""
    family: Family = module.from_official(module.read(source), direction, source)
    state = {
        "family": family.name,
        "config": family.config.model_dump(mode="json"),
        "step": 0,
        "networks": {name: network.state_dict() for name, network in family.networks.items()},
    }
    path = output if output.suffix == ".pt" else output / "official.pt"
    store.save(state, path)
    return path


def export_official(
    source: Path, folder: Path, families: FamilyTable, modules: Mapping[str, OfficialModule]
) -> list[Path]:
    """Write a checkpoint's networks in the official layout; returns the files."""
    family, *_ = load_family(source, families)
    files = modules[family.name].to_files(family)
    for name, weights in files.items():
        content = io.BytesIO()  # torch.save itself does not say why a disk refuses
        torch.save(weights, content)
        content.seek(0)
        write_file(folder / name, partial(copyfileobj, content))
    return [folder / name for name in files]
