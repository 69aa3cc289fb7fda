"""What a training finds, and first writes, in its run folder."""

from __future__ import annotations

from pathlib import Path

from core.checkpoints import store
from core.config import dump_config
from core.errors import UserError
from core.options import NamedConfig
from core.training.run_log import RunLog


def write_config(config: NamedConfig, run_dir: Path) -> None:
    """Write every option to config.yaml.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.yaml").write_text(dump_config(config))
    except OSError as error:
        raise UserError(
            f"{run_dir}: cannot write the run folder: {error.strerror}; choose another with "
            "--run-dir"
        ) from None


def clear_checkpoints(run_dir: Path, step: int, log: RunLog) -> None:
    """Remove what killed saves left, and set aside what lies after the step resumed from."""
    folder = run_dir / "checkpoints"
    store.sweep(folder)
    for path in store.set_aside(folder, step):
        log.message(step, "notice", f"a later checkpoint is set aside as {path}")
