"""What a run writes down: log.jsonl, its trackers, and messages above the progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from core.options import RunConfig
from core.training.trackers import Trackers


class RunLog:
    """Collects loss terms on the device and writes their means once per window.

    Args:
        run_dir: the run folder; None writes nothing (ranks other than 0).
        step: the step that is resumed from; later lines of an older log are dropped.
        config: options of the run, with `log.trackers`; None has none.
        **about: what holds for the whole run; log.jsonl repeats it in each window's line.
    """

    def __init__(
        self,
        run_dir: Path | None,
        step: int = 0,
        config: RunConfig | None = None,
        **about: Any,
    ) -> None:
        self._terms: dict[str, list[Tensor]] = {}
        self._about = about
        self._path = run_dir / "log.jsonl" if run_dir else None
        self._step, self._trackers = step, None
        if run_dir is not None:
            self._drop_after(step)
            if config is not None:
                self._trackers = Trackers(run_dir, config, step, self._leave_out)

    def _leave_out(self, step: int, text: str) -> None:
        self.message(step, "notice", text)

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
        tagged = {f"loss/{name}": value for name, value in terms.items()}
        self._track(step, tagged | {f"progress/{name}": value for name, value in progress.items()})

    def _track(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        if self._trackers is not None:
            self._trackers.scalars(step, values)

    def measures(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured on pictures at a step, under `measure/`."""
        self._line({"step": step, "time": time.time(), "measures": dict(values)})
        self._track(step, {f"measure/{name}": value for name, value in values.items()})

    def message(self, step: int, kind: str, text: str) -> None:
        """An alarm or notice: on the screen and as a line of the log."""
        if self._path is not None:
            tqdm.write(f"{kind}: step {step}: {text}")
        self.record(step, kind, text)

    def record(self, step: int, kind: str, text: str) -> None:
        """A message that the screen shows otherwise, as a line of the log alone."""
        self._line({"step": step, "time": time.time(), kind: text})

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Give a grid to the trackers."""
        if self._trackers is not None:
            self._trackers.picture(step, tag, image.convert("RGB"))

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if self._trackers is not None:
            self._trackers.flush(self._step)

    def close(self) -> None:
        """Write what is left and release the files."""
        if self._trackers is not None:
            self._trackers.close(self._step)


def _without_nonfinite(value: Any) -> Any:
    """Plain containers with null for the numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _without_nonfinite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
