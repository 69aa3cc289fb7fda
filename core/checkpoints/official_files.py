"""Read the files of official checkpoints without executing a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError


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


def _as_state(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise UserError(f"{path}: not a plain state dict {{key: tensor}}")
    return dict(content)


def read_state(path: Path) -> dict[str, Tensor]:
    """An official file that holds one state dict.

    Raises:
        UserError: unreadable, or not a flat dict of tensors.
    """
    return _as_state(read_file(path), path)


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
        states |= {key: _as_state(each, path) for key, each in found.items()}
    return states
