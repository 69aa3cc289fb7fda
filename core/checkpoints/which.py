"""Which checkpoint of a run folder is meant: the last, the best, that of a step or of an epoch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from core.checkpoints import store
from core.errors import UserError


def choose(path: Path, which: str = "last") -> Path:
    """Return the checkpoint that is meant.

    Args:
        path: a run folder; a file, or anything else that can be loaded, has only a last one.
        which: `last` (newest intact), `best` (by `checkpoint.best`), a step, or `epoch:N` (the end
            of the N-th epoch).

    Returns:
        The file; `path` itself for `last`, which every loader finds.

    Raises:
        UserError: there is no such checkpoint, or it is damaged; names those that there are.
    """
    if which == "last":
        return path
    if not path.is_dir():
        raise UserError(f"--which {which}: {path} is no run folder; give one, or leave it out")
    newest, _ = store.find(path)
    if which.isdecimal():
        step = int(which)
    elif which == "best":
        best = store.load(newest).get("best")
        if not best or not best["history"]:
            raise UserError(
                f"--which best: {path} has recorded no best checkpoint; train with checkpoint.best "
                "and evaluate.every"
            )
        step = best["history"][-1][0]
    elif match := re.fullmatch(r"epoch:(\d+)", which):
        step = int(match[1]) * steps_per_epoch(store.load(newest))
    else:
        raise UserError(f"--which {which}: expected best, last, a step or epoch:N")
    file = store.step_path(newest.parent, step)
    if not file.is_file():
        there = ", ".join(str(store.step_of(one)) for one in reversed(store.listed(newest.parent)))
        raise UserError(f"--which {which}: {path} has no checkpoint of step {step}; has: {there}")
    if problem := store.verify(file):
        raise UserError(f"{file}: {problem}; choose another with --which")
    return file


def steps_per_epoch(state: dict[str, Any]) -> int:
    """Return how many steps an epoch of a checkpoint's run has.

    Raises:
        UserError: the checkpoint was converted and is of no training.
    """
    if "loader" not in state:
        raise UserError("--which epoch:N: a converted checkpoint has no epochs")
    loader = state["loader"]
    return -(-max(loader["num_items"]) // int(loader["global_batch_size"]))
