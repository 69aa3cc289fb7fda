"""Find the files of official checkpoints, and read them without executing a pickle."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError


def find_files(path: Path, pattern: str, default: str, expected: str) -> dict[str, Path]:
    """Find the newest set of official files in a folder, or take one file for what its name says.

    Args:
        path: the folder or the file.
        pattern: regular expression of a file's name with the groups `net` and `epoch`; of a single
            file it may match the beginning only, and leave `epoch` out.
        default: network of a single file whose name says nothing.
        expected: what a folder should hold, for the error.

    Returns:
        {network: file}, of the highest epoch; `latest` is higher than any number.

    Raises:
        UserError: nothing there, or nothing of these names.
    """
    if path.is_file():
        match = re.match(pattern, path.name)
        return {match["net"] if match else default: path}
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    epochs: dict[str, dict[str, Path]] = {}
    for file in path.iterdir():
        match = re.match(pattern, file.name)
        if match and match["epoch"]:
            epochs.setdefault(match["epoch"], {})[match["net"]] = file
    if not epochs:
        raise UserError(f"{path}: no {expected}")

    def age(epoch: str) -> tuple[bool, int]:
        return epoch == "latest", int(re.sub(r"\D", "", epoch) or 0)

    return epochs[max(epochs, key=age)]


def read_file(path: Path, what: str = "weights") -> Any:
    """Read a file that others wrote, of `torch.save` or safetensors, without executing a pickle.

    Args:
        path: the file.
        what: what it should hold, for errors.

    Raises:
        UserError: unreadable, or more than tensors and plain containers.
    """
    try:
        if is_safetensors(path):
            return load_file(path)
        # What argparse gave a training is harmless, and often lies beside its weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    except Exception as error:  # torch raises a different type for every kind of damage
        raise UserError(
            f"{path}: not {what} that can be read safely ({_problem(path, error)})"
        ) from None


def is_safetensors(path: Path) -> bool:
    """Tell a safetensors file by its first bytes: the length of a header that is JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _problem(path: Path, error: Exception) -> str:
    """Name the classes that a file holds beside tensors, or the kind of damage."""
    with contextlib.suppress(Exception):
        if classes := torch.serialization.get_unsafe_globals_in_checkpoint(path):
            return f"holds objects of {classes[0]}; save its state dict alone"
    return type(error).__name__


def plain(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Copy {network: state dict} without the prefix `module.` that DataParallel leaves on keys."""
    return {
        name: {key.removeprefix("module."): value for key, value in state.items()}
        for name, state in states.items()
    }


def _as_state(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise UserError(f"{path}: not a plain state dict {{key: tensor}}")
    return dict(content)


def read_state(path: Path, what: str = "weights") -> dict[str, Tensor]:
    """Read a file that holds one state dict; see `read_file`.

    Raises:
        UserError: unreadable, or not a flat dict of tensors.
    """
    return _as_state(read_file(path, what), path)


def read_states(files: Mapping[str, Path]) -> dict[str, dict[str, Tensor]]:
    """Read the networks of official files.

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
