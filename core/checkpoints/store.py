"""Checkpoints: atomic, verified, self-describing, and never a pickle executed.

A checkpoint is what `torch.save` writes for tensors and plain containers, followed by a line with
the SHA-256 of everything before it; plain `torch.load(path, weights_only=True)` reads it too.
It is written to a temporary file, flushed to the disk and renamed, so that a file of the final
name is whole, and the checksum tells if it no longer is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from core.checkpoints import structure
from core.errors import UserError

FORMAT = 1
_FOOTER = re.compile(rb"\nsha256:([0-9a-f]{64})\n\Z")
_FOOTER_BYTES = 73
_NAME = "step_{:08d}.pt"
_STEP = re.compile(r"step_\d+\.pt")


class _HashingWriter:
    """A file that torch.save writes through while the digest is taken."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:  # torch wraps it in a RuntimeError without the reason
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system lets one open a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write `state` so that `path` is either the old file or the whole new one.

    Raises:
        UserError: the folder is not writable or the disk is full; nothing of the old is lost.
    """
    temporary: str | None = None
    writer: _HashingWriter | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            writer = _HashingWriter(file)
            torch.save({"format": FORMAT, **state}, cast("BinaryIO", writer))
            file.write(f"\nsha256:{writer.digest.hexdigest()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        _fsync_folder(path.parent)
        temporary = None
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else writer.error if writer else None
        if reason is None:
            raise
        raise UserError(
            f"{path}: cannot write the checkpoint: {reason.strerror or reason}; free space or "
            f"choose another --run-dir, then --resume from the newest checkpoint in {path.parent}"
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def verify(path: Path) -> str | None:
    """None if the file is whole, otherwise what is wrong with it."""
    try:
        size = path.stat().st_size
        digest = hashlib.sha256()
        with path.open("rb") as file:
            if size <= _FOOTER_BYTES:
                return "cut short"
            left = size - _FOOTER_BYTES
            while left:
                block = file.read(min(left, 1 << 20))
                if not block:
                    return "cut short"
                digest.update(block)
                left -= len(block)
            footer = _FOOTER.match(file.read())
    except OSError as error:
        return error.strerror or str(error)
    if footer is None:
        return "cut short, or not a checkpoint of this project"
    return None if footer[1].decode() == digest.hexdigest() else "damaged (checksum differs)"


def load(path: Path, *, verified: bool = False) -> dict[str, Any]:
    """Read a checkpoint on the CPU; of what nobody looks at, such as moments, nothing is read.

    Args:
        path: the file.
        verified: it was found by `find` in a folder just now, which has verified it.

    Raises:
        UserError: missing, cut, damaged, not ours, or written by another version.
    """
    state = read(path, verified=verified)
    structure.check(state, path)
    return state


def read(path: Path, *, verified: bool = False) -> dict[str, Any]:
    """Read what `save` wrote, whatever is in it; errors as `load`."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    if not verified and (problem := verify(path)):
        raise UserError(
            f"{path}: {problem}; use an older checkpoint, or convert an official .pth file with "
            "scripts/convert.py"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises a different type for every kind of damage
        # A right checksum under something else: made by hand, and perhaps with intent.
        raise UserError(
            f"{path}: holds more than tensors and plain containers and was not loaded; use a file "
            "that scripts/train.py wrote"
        ) from None
    found = state.get("format") if isinstance(state, dict) else None
    if type(found) is not int or found != FORMAT:
        shown = found if isinstance(found, int) else type(found).__name__
        raise UserError(
            f"{path}: checkpoint format {shown}, expected {FORMAT}; use the version of this "
            "project that wrote it"
        )
    return state


def step_path(folder: Path, step: int) -> Path:
    """The file of one step."""
    return folder / _NAME.format(step)


def step_of(path: Path) -> int:
    """The step of such a file."""
    return int(path.stem.removeprefix("step_"))


def listed(folder: Path) -> list[Path]:
    """Checkpoints of a folder, newest first; files of other names are not ours to judge."""
    named = (path for path in folder.glob("step_*.pt") if _STEP.fullmatch(path.name))
    return sorted(named, key=step_of, reverse=True)


def is_ours(path: Path) -> bool:
    """Tell a checkpoint file or run folder of this project from files of others."""
    if path.is_dir():
        return (path / "checkpoints").is_dir() or bool(listed(path))
    return bool(_STEP.fullmatch(path.name)) or verify(path) is None


def find(path: Path) -> tuple[Path, list[str]]:
    """The checkpoint meant by `path`: the file itself, or a run folder's newest intact one.

    Returns:
        The file, and one line for each newer one that is damaged.
    """
    if path.is_file():
        return path, []
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if not folder.is_dir():
        raise UserError(f"{path}: no such checkpoint or run folder")
    problems: list[str] = []
    for candidate in listed(folder):
        problem = verify(candidate)
        if problem is None:
            return candidate, problems
        problems.append(f"{candidate}: {problem}; trying the one before")
    damaged = f"all {len(problems)} damaged" if problems else "none there"
    raise UserError(f"{folder}: no intact checkpoint ({damaged})")


def newest(run_dir: Path) -> dict[str, Any] | None:
    """Load a run folder's newest intact checkpoint; None where the run has none yet.

    Raises:
        UserError: all are damaged.
    """
    if not listed(run_dir / "checkpoints"):
        return None
    return load(find(run_dir)[0], verified=True)


def prune(
    written: Path,
    keep_last: int,
    keep_every: Sequence[int] = (),
    best_at: Callable[[int], int | None] = lambda _step: None,
) -> None:
    """Delete checkpoints older than the one just written, and leave what resuming may need.

    A damaged file does not count, so the last intact one always stays.

    Args:
        written: the checkpoint that was just saved, by `step_path`.
        keep_last: how many intact ones to keep, `written` included.
        keep_every: keep multiples of these numbers of steps besides; 0: none.
        best_at: gives the step that was best when the run stood at a step. It is kept with every
            checkpoint that is kept, so that who goes back to that one finds its best one too.
    """
    kept, best = 1, {best_at(step_of(written))}
    for path in listed(written.parent):
        step = step_of(path)
        if step >= step_of(written):
            continue
        if step not in best and not any(n and step % n == 0 for n in keep_every):
            if kept >= keep_last:
                path.unlink(missing_ok=True)
                continue
            kept += verify(path) is None
        best.add(best_at(step))


def set_aside(folder: Path, step: int) -> list[Path]:
    """Move the checkpoints after `step` out of the way of a run that goes back to it.

    They go to `folder/abandoned` under their own names (`step_00000008_2.pt` where an earlier
    going-back left the same step there), so that no later `find` or `prune` counts them.

    Returns:
        Where they are now.
    """
    moved = []
    for path in listed(folder):
        if step_of(path) > step:
            target, number = folder / "abandoned" / path.name, 1
            while target.exists():
                number += 1
                target = target.with_name(f"{path.stem}_{number}.pt")
            target.parent.mkdir(exist_ok=True)
            moved.append(path.rename(target))
    return moved


def sweep(folder: Path) -> None:
    """Delete the temporary files of killed saves in a folder that nobody else writes to."""
    for path in folder.glob(".step_*.pt.*"):
        path.unlink(missing_ok=True)


def misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Say in what keys and shapes a state dict does not fit a network; empty if it fits."""
    own = network.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = []
    if missing:
        problems.append(f"lacks {len(missing)} key(s), first `{missing[0]}`")
    if extra:
        problems.append(f"has {len(extra)} unknown key(s), first `{extra[0]}`")
    if shapes:
        key = shapes[0]
        problems.append(
            f"{len(shapes)} shape(s) differ, first `{key}`: file {list(state[key].shape)}, "
            f"network {list(own[key].shape)}"
        )
    return "; ".join(problems)


def load_network(
    network: nn.Module, state: Mapping[str, Tensor], name: str, source: object
) -> None:
    """`load_state_dict`, strict, with an error that a person can act on.

    Raises:
        UserError: names the source, the network, and the first key or shape that disagrees.
    """
    if problems := misfit(network, state):
        raise UserError(
            f"{source}: does not fit network {name}: {problems}; check the family and the model "
            "options (width, blocks, norm, dropout, channels)"
        )
    network.load_state_dict(dict(state))
