"""One training at a time in a run folder."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from core.errors import UserError
from core.runtime.distributed import World


class RunLock:
    """Holds a run folder from construction until the end of the `with` block.

    A process that dies lets go of it by dying, however it dies.

    Args:
        run_dir: the run folder.
        world: rank 0 holds it for all processes.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """

    def __init__(self, run_dir: Path, world: World) -> None:
        # One lock per process and folder: who holds it already may take it again.
        self._lock = FileLock(run_dir / ".lock", is_singleton=True) if world.is_main else None
        if self._lock is None:
            return
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{run_dir}: another training is writing there; stop it, or choose another "
                "--run-dir"
            ) from None
        except OSError as error:
            raise UserError(
                f"{run_dir}: cannot write the run folder: {error.strerror}; choose another with "
                "--run-dir"
            ) from None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.release()
