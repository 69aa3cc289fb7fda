"""What a run writes down: log.jsonl, TensorBoard, and messages above the progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Collects loss terms on the device and writes their means once per window.

    Args:
        run_dir: the run folder; None writes nothing (ranks other than 0).
        step: the step that is resumed from; later lines of an older log are dropped.
        **about: what holds for the whole run; log.jsonl repeats it in each window's line.
    """

    def __init__(self, run_dir: Path | None, step: int = 0, **about: Any) -> None:
        self._terms: dict[str, list[Tensor]] = {}
        self._about = about
        self._path = run_dir / "log.jsonl" if run_dir else None
        self._board: SummaryWriter | None = None
        if run_dir is not None and self._path is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (only when training)

            self._drop_after(step)
            self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)

    def _drop_after(self, step: int) -> None:
        assert self._path is not None
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_bytes().splitlines(keepends=True):
            with contextlib.suppress(ValueError):  # a line cut by a power loss is dropped
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("step", 0) <= step:
                    kept.append(line)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(kept))
        temporary.replace(self._path)

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Keep one step's detached scalars; nothing waits for the device."""
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())

    def means(self) -> dict[str, float]:
        """Mean of the finite values of each term since the last call: one transfer for all."""
        if not self._terms:
            return {}
        flat = torch.stack([v.double() for values in self._terms.values() for v in values])
        numbers = iter(flat.tolist())
        result = {}
        for name, values in self._terms.items():
            finite = [x for x in (next(numbers) for _ in values) if math.isfinite(x)]
            result[name] = sum(finite) / len(finite) if finite else math.nan
        self._terms.clear()
        return result

    def _line(self, entry: dict[str, Any]) -> None:
        if self._path is not None:
            text = json.dumps(_without_nonfinite(entry), ensure_ascii=False, allow_nan=False)
            # Bytes of a file name that are not UTF-8 become JSON's own escapes.
            with self._path.open("ab") as file:
                file.write(f"{text}\n".encode(errors="backslashreplace"))

    def scalars(self, step: int, terms: Mapping[str, float], progress: Mapping[str, float]) -> None:
        """One window: loss terms under `loss/`, rates and speeds under `progress/`."""
        entry = {"step": step, "time": time.time(), "losses": dict(terms)}
        self._line({**entry, **progress, **self._about})
        if self._board is not None:
            for name, value in terms.items():
                self._board.add_scalar(f"loss/{name}", value, step)
            for name, value in progress.items():
                self._board.add_scalar(f"progress/{name}", value, step)

    def measures(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured on pictures at a step, under `measure/`."""
        self._line({"step": step, "time": time.time(), "measures": dict(values)})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"measure/{name}", value, step)

    def message(self, step: int, kind: str, text: str) -> None:
        """An alarm or notice: on the screen and as a line of the log."""
        if self._path is not None:
            tqdm.write(f"{kind}: step {step}: {text}")
        self.record(step, kind, text)

    def record(self, step: int, kind: str, text: str) -> None:
        """A message that the screen shows otherwise, as a line of the log alone."""
        self._line({"step": step, "time": time.time(), kind: text})

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        """A grid for TensorBoard."""
        if self._board is not None:
            self._board.add_image(tag, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Write what is left and release the files."""
        if self._board is not None:
            self._board.close()


def _without_nonfinite(value: Any) -> Any:
    """Plain containers with null for the numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _without_nonfinite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
