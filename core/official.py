"""Between official checkpoint files and ours; what is in them is the family's `official.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from core import checkpoint
from core.errors import UserError
from core.family import Family
from core.inference import from_state
from core.options import Direction


class OfficialModule(Protocol):
    """What a family's `official.py` offers."""

    def read(self, path: Path) -> Mapping[str, Any]:
        """{official network name: state dict} of the file or files at a path."""

    def from_official(self, states: Mapping[str, Any], direction: Direction, source: object) -> Any:
        """A family with these networks."""

    def to_files(self, family: Any) -> Mapping[str, Mapping[str, Any]]:
        """{file name: content}."""


def read_file(path: Path) -> Any:
    """What an official file holds, read without executing a pickle.

    Raises:
        UserError: unreadable, or more than tensors and plain containers.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # torch raises a different type for every kind of damage
        raise UserError(
            f"{path}: not a state dict that can be read safely ({type(error).__name__})"
        ) from None


def read_states(files: Mapping[str, Path]) -> dict[str, dict[str, Tensor]]:
    """The networks of official files.

    Args:
        files: of each network its file: a state dict; or several, {part: state dict}, which then
            go by `<name>_<part>`.

    Raises:
        UserError: unreadable, or neither of the two.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for name, path in files.items():
        content = read_file(path)
        values = content.values() if isinstance(content, Mapping) else ()
        several = bool(values) and all(isinstance(value, Mapping) for value in values)
        found = {f"{name}_{k}": v for k, v in content.items()} if several else {name: content}
        for each in found.values():
            if not isinstance(each, Mapping) or not all(map(torch.is_tensor, each.values())):
                raise UserError(f"{path}: not a plain state dict {{key: tensor}}")
        states |= {key: dict(each) for key, each in found.items()}
    return states


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
    checkpoint.save(state, path)
    return path


def export_official(
    source: Path, folder: Path, modules: Mapping[str, OfficialModule]
) -> list[Path]:
    """Write a checkpoint's networks in the official layout; returns the files."""
    file, _ = checkpoint.find(source)
    state = checkpoint.load(file)
    family = from_state(state, source=str(file))
    written = []
    for name, weights in modules[family.name].to_files(family).items():
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            torch.save(weights, temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{path}: cannot write: {error}") from None
        written.append(path)
    return written
