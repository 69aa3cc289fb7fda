"""Where a training begins: at step 0 of a new run, or at the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.checkpoints import store
from core.config import load_config
from core.convert.official import OfficialModule
from core.errors import UserError
from core.family import Family, FamilyTable
from core.inference.loading import kind_and_config
from core.runtime import distributed
from core.training.initial import Initial, read_initial
from core.training.trainer import Trainer

AUTO = "auto"
"""`--resume auto`: go on if there is a run, begin one if not."""
STOPPED = {"Ctrl-C": 130, "SIGTERM": 143}
"""Exit codes of a training that was stopped, as shells give them for the signals."""


@dataclass(frozen=True)
class Start:
    """What to train, where, and from which state.

    Attributes:
        kind: the family.
        config: its options.
        run_dir: the run folder.
        state: of the checkpoint to go on from; None begins at step 0.
        notes: what a person should know of the choice, a line each.
        initial: weights to begin with instead of random ones; only without a state.
    """

    kind: type[Family]
    config: Any
    run_dir: Path
    state: dict[str, Any] | None
    notes: tuple[str, ...] = ()
    initial: Initial | None = None


def find_start(
    families: FamilyTable,
    *,
    config: Path | None,
    overrides: Sequence[str] = (),
    run_dir: Path | None = None,
    resume: str | None = None,
    init: Path | None = None,
    init_only: tuple[str, ...] = (),
    official: Mapping[str, OfficialModule] | None = None,
) -> Start:
    """Decide what a command line asks for.

    Args:
        families: name -> family.
        config: a YAML file; None takes the options of the checkpoint.
        overrides: `section.key=value` texts, applied to either.
        run_dir: the run folder; None: that of the checkpoint's, or `runs/<name>`.
        resume: None begins a new run; a checkpoint or run folder to go on from; "" for the newest
            intact checkpoint of this run; "auto" for that, or a new run where there is none.
        init: checkpoint whose networks a new run begins with; a run that goes on has its own.
        init_only: names of the networks to take from it; empty: all that fit.
        official: {family: reader of its released files}, for `init`.

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
        kind = families[options.family]
        initial = read_initial(init, kind, options, official or {}, init_only) if init else None
        return Start(kind, options, folder, None, initial=initial)
    assert where is not None
    file, damaged = store.find(where)
    state = store.load(file)
    if options is None:
        _, options = kind_and_config(state, families, file, overrides)
        folder = folder or file.parent.parent
    assert folder is not None
    notes = (*(f"damaged: {line}" for line in damaged), f"resuming from {file}")
    return Start(families[options.family], options, folder, state, notes)


def launch(start: Start, device: str) -> int:
    """Train to the end, or until Ctrl-C or SIGTERM.

    Args:
        start: what to train, from `find_start`.
        device: as `core.runtime.distributed.start`.

    Returns:
        The exit code: 0 of a finished training, 130 or 143 of one that was stopped.

    Raises:
        UserError: as `Trainer`.
    """
    world = distributed.start(device)
    if world.is_main:
        print(*start.notes, sep="\n", end="\n" if start.notes else "")
    trainer = Trainer(start.kind, start.config, start.run_dir, world, start.state, start.initial)
    if world.is_main:
        print(*trainer.taken, trainer.plan, sep="\n")
    complete = trainer.train()
    if world.is_main:
        how = "finished" if complete else "stopped"
        print(f"{how} at step {trainer.step}; {start.run_dir}/index.html")
        if trainer.best is not None:
            print(trainer.best)
        if not complete:
            print(f"go on with: python scripts/train.py --resume {start.run_dir}")
    return 0 if complete else STOPPED[trainer.stopped_by]
