"""Start a training or go on with one, as `scripts/train.py` asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.checkpoints import store
from core.config import load_config
from core.errors import UserError
from core.family import FamilyTable
from core.inference.loading import kind_and_config
from core.runtime import distributed
from core.training.trainer import Trainer


def launch(
    families: FamilyTable,
    file: Path | None,
    settings: Sequence[str],
    run_dir: Path | None,
    resume: str | None,
    device: str,
) -> None:
    """Train a family in a run folder to the end, or until Ctrl-C or SIGTERM.

    Args:
        families: name -> family.
        file: the config; None takes the options of the checkpoint.
        settings: `KEY=VALUE` changes to the config.
        run_dir: the run folder; None is `runs/<name>`, or without a config the checkpoint's.
        resume: checkpoint or run folder to go on from; "" is `run_dir`; None starts anew.
        device: as `core.runtime.distributed.start`.

    Raises:
        UserError: bad options, no intact checkpoint, or a run folder that holds a run already.
    """
    config: Any = None if file is None else load_config(file, families, settings)
    state = None
    if resume is not None:
        start = Path(resume) if resume else run_dir or Path("runs") / config.name
        found, damaged = store.find(start)
        for line in damaged:
            print(f"damaged: {line}")
        print(f"resuming from {found}")
        state = store.load(found)
        if config is None:
            _, config = kind_and_config(state, families, found)
            run_dir = run_dir or found.parent.parent
    run_dir = run_dir or Path("runs") / config.name
    if state is None and store.listed(run_dir / "checkpoints"):
        raise UserError(f"{run_dir}: holds a run already; add --resume, or another --run-dir")
    world = distributed.start(device)
    trainer = Trainer(families[config.family], config, run_dir, world, state)
    complete = trainer.train()
    if world.is_main:
        how = "finished" if complete else "stopped"
        print(f"{how} at step {trainer.step}; {run_dir}/index.html")
        if not complete:
            print(f"go on with: python scripts/train.py --resume {run_dir}")
