"""Find the generators in checkpoints that other codes wrote.

A file may hold one network or a whole training, plain or in dicts within dicts, with the prefixes
that DataParallel and Lightning leave. Which part of it is a generator is told by its layers
(`core.convert.structure`), not by its names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from core.checkpoints.official_files import is_safetensors, read_file
from core.convert.structure import (
    Recognised,
    State,
    Told,
    ToldWrongError,
    UnfitError,
    UntoldError,
    recognise,
)
from core.errors import UserError

_DEEPEST = 8
"""Levels of dicts that are searched."""


def read_generators(
    path: Path, told: Told, names: Sequence[str] = ()
) -> tuple[list[dict[str, Tensor]], list[str]]:
    """Read generators of a file under the official keys.

    Args:
        path: a file of `torch.save`, or a safetensors file.
        told: what the file may not show.
        names: which of several generators to take, in this order; none where there is one.

    Returns:
        The state dicts, and a line for each that says what was recognised.

    Raises:
        UserError: unreadable; no generator; several, and no name; or one that cannot be read.
    """
    content = read_file(path)
    if isinstance(content, Mapping) and {"format", "family", "networks"} <= content.keys():
        raise UserError(f"{path}: is a checkpoint of this project already")
    tensors = dict(_flat(content))
    if not tensors:
        raise UserError(f"{path}: holds no tensors under names; save a state dict")
    found = _search(tensors, told, ordered=not is_safetensors(path))
    fits = {name: one for name, one in found.items() if isinstance(one, Recognised)}
    if not fits:
        raise UserError(f"{path}: {_why(found)}")
    chosen = [_named(name, fits, path) for name in names] or list(fits)
    if len(set(chosen)) < len(chosen):
        raise UserError(f"--network: {' '.join(names)}: the same one twice")
    if len(chosen) != (len(names) or 1):
        raise UserError(
            f"{path}: holds {len(fits)} generators, {', '.join(fits)}; say which with --network"
        )
    lines = []
    for name in chosen:
        others = len(tensors) - sum(key.startswith(f"{name}.") or not name for key in tensors)
        where = f"{path}: {name}" if name else str(path)
        rest = f"; {others} other tensors are left out" if others else ""
        lines.append(f"{where}: {fits[name].text}{rest}")
    return [fits[name].state for name in chosen], lines


def _flat(content: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Give {dotted key: tensor} of nested dicts; optimizer states, under numbers, are passed by."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(key, str):
            yield from _flat(value, f"{prefix}{key}.", depth + 1)


def _search(tensors: State, told: Told, *, ordered: bool) -> dict[str, Recognised | UnfitError]:
    """Try the whole, then its parts, and theirs: {prefix without dot: generator or why not}."""
    found: dict[str, Recognised | UnfitError] = {}
    pending: list[tuple[str, State]] = [("", tensors)]
    while pending:
        name, state = _peeled(*pending.pop(0))
        if not any(value.dim() == 4 for value in state.values()):
            continue
        try:
            found[name] = recognise(state, told, ordered=ordered)
        except UntoldError as reason:
            found[name] = reason
        except UnfitError as reason:
            found[name] = reason
            pending += [(f"{name}.{head}".strip("."), part) for head, part in _parts(state)]
    return found


def _parts(state: State) -> list[tuple[str, State]]:
    """Split a state dict by the first names of its keys."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        head, dot, tail = key.partition(".")
        if dot:
            parts.setdefault(head, {})[tail] = value
    return [*parts.items()]


def _peeled(name: str, state: State) -> tuple[str, State]:
    """Move the names that all keys begin with from the state to the name."""
    while len(parts := _parts(state)) == 1 and len(parts[0][1]) == len(state):
        name, state = f"{name}.{parts[0][0]}".strip("."), parts[0][1]
    return name, state


def _why(found: Mapping[str, Recognised | UnfitError]) -> str:
    """Say why nothing was recognised: of a part that nearly is, or of the whole."""
    if not found:
        return "holds no convolutions; not a generator's checkpoint"
    kinds = (UntoldError, ToldWrongError)
    near = (name for name, reason in found.items() if isinstance(reason, kinds))
    name = next(near, next(iter(found)))
    return f"{name}: {found[name]}" if name else str(found[name])


def _named(name: str, fits: Mapping[str, Recognised], path: Path) -> str:
    """Find a generator by its full name, or by the last part of it."""
    matching = [each for each in fits if name in (each, each.rpartition(".")[2])]
    if len(matching) != 1:
        raise UserError(
            f"{path}: --network {name}: {len(matching)} generators of this name; there are "
            f"{', '.join(fits)}"
        )
    return matching[0]
