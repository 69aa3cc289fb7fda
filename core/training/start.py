"""Where a training begins: at step 0 of a new run, or at the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.checkpoints import store
from core.config import change, load_config
from core.errors import UserError
from core.family import Family

AUTO = "auto"
"""`--resume auto`: go on if there is a run, begin one if not."""


@dataclass(frozen=True)
class Start:
    """What to train, where, and from which state.

    Attributes:
        kind: the family.
        config: its options.
        run_dir: the run folder.
        state: of the checkpoint to go on from; None begins at step 0.
        notes: what a person should know of the choice, a line each.
    """

    kind: type[Family]
    config: Any
    run_dir: Path
    state: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def find_start(
    families: Mapping[str, type[Family]],
    *,
    config: Path | None,
    overrides: Sequence[str] = (),
    run_dir: Path | None = None,
    resume: str | None = None,
) -> Start:
    """Decide what a command line asks for.

    Args:
        families: {name: class}.
        config: a YAML file; None takes the options of the checkpoint.
        overrides: `section.key=value` texts, applied to either.
        run_dir: the run folder; None: that of the checkpoint's, or `runs/<name>`.
        resume: None begins a new run; a checkpoint or run folder to go on from; "" for the newest
            intact checkpoint of this run; "auto" for that, or a new run where there is none.

    Raises:
        UserError: nothing to begin with, a run that is there already, or an unknown family.
    """
    if config is None and (run_dir is None if resume in ("", AUTO) else resume is None):
        raise UserError("--config FILE is needed, or --resume PATH to go on with a run")
    options = load_config(config, families, overrides) if config is not None else None
    folder = run_dir or (Path("runs") / options.name if options is not None else None)
    where = Path(resume) if resume and resume != AUTO else folder
    if resume is None or (resume == AUTO and not (folder and store.listed(folder / "checkpoints"))):
        assert options is not None and folder is not None
        if store.listed(folder / "checkpoints"):
            raise UserError(f"{folder}: holds a run already; add --resume, or another --run-dir")
        return Start(families[options.family], options, folder, None)
    assert where is not None
    file, damaged = store.find(where)
    state = store.load(file)
    kind = families.get(state["family"])
    if kind is None:
        raise UserError(f"{file}: unknown family {state['family']!r}")
    if options is None:
        source = f"{file} (written by version {state.get('version', '0.1.0')})"
        options = change(kind.Config, state["config"], overrides, source)
        folder = folder or file.parent.parent
    assert folder is not None
    notes = (*(f"damaged: {line}" for line in damaged), f"resuming from {file}")
    return Start(families[options.family], options, folder, state, notes)
