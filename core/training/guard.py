"""Steps whose loss or gradient was not finite: said, kept for inspection, counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from core.family import Batch
from core.training.run_log import RunLog


@dataclass(frozen=True)
class StepFlag:
    """A step whose non-finite flag may not have been read from the device yet.

    Attributes:
        step: its number.
        batch: as the loader gave it.
        skipped: 1 if an update was skipped, else 0; on its way to the CPU until `arrived`.
        terms: its losses, on the device.
        arrived: a GPU's mark behind that copy; None where nothing has to be waited for.
    """

    step: int
    batch: Batch
    skipped: Tensor
    terms: dict[str, Tensor]
    arrived: torch.cuda.Event | None = None

    @classmethod
    def send(cls, step: int, batch: Batch, skipped: Tensor, terms: dict[str, Tensor]) -> Self:
        """Make the flag of a step just queued, whose reading later waits for that step alone.

        `Tensor.item` would wait for everything that was queued before it is called.

        Args:
            step: its number.
            batch: as the loader gave it.
            skipped: `core.training.update.Updater.skipped`, on the device.
            terms: its losses.
        """
        if skipped.device.type != "cuda":
            return cls(step, batch, skipped, terms)
        host = torch.empty((), dtype=skipped.dtype, pin_memory=True)
        host.copy_(skipped, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(step, batch, host, terms, arrived)

    def __bool__(self) -> bool:
        if self.arrived is not None:
            self.arrived.synchronize()
        return bool(self.skipped.item())


class NonfiniteGuard:
    """Saves the batch of every skipped step and counts how many came in a row.

    Args:
        run_dir: batches go to its `nonfinite/`.
        rank: of this process.
        limit: so many in a row are too many.
    """

    def __init__(self, run_dir: Path, rank: int, limit: int) -> None:
        self.in_a_row = 0
        self._folder, self._rank, self._limit = run_dir / "nonfinite", rank, limit

    def check(self, flag: StepFlag, log: RunLog) -> bool:
        """Read a step's flag, which waits for that step; True when the limit is reached."""
        if not flag:
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        columns = flag.batch.columns()
        names = ", ".join(dict.fromkeys(n for _, files in columns.values() for n in files))
        path = self._folder / f"step_{flag.step:08d}_rank{self._rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "step": flag.step,
            "terms": {name: float(value) for name, value in flag.terms.items()},
            **{key: images for key, (images, _) in columns.items()},
            **{f"names_{key}": list(files) for key, (_, files) in columns.items()},
        }
        torch.save(kept, path)
        log.message(
            flag.step,
            "alarm",
            f"loss or gradient not finite; step skipped, batch of {names} saved in {path}",
        )
        return self.in_a_row >= self._limit
