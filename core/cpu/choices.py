"""Which of several ways to do the same is the fastest here: measured once, and remembered.

Which layout or algorithm a convolution likes depends on its shape, the processor's instructions and
the version of torch's libraries, by factors of up to six either way. So it is asked, at the first
batch of each shape. The answers are kept between runs, so that a run that goes on rounds as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Ways = Mapping[str, Callable[[], object]]
"""What to measure, by name; the first is torch's own way."""
Key = tuple[object, ...]
_REPEATS = 3
_CLEARLY = 0.95
"""Another way than torch's is taken if it needs less than this share of its time."""


def seconds(work: Callable[[], object]) -> float:
    """Measure one go of `work` by the clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Choices:
    """The ways taken so far.

    Args:
        file: what earlier runs found, and where to add to it; None keeps nothing.
        seconds: measures one go.
    """

    def __init__(
        self,
        file: Path | None = None,
        seconds: Callable[[Callable[[], object]], float] = seconds,
    ) -> None:
        self._file, self._seconds = file, seconds
        self._known: dict[Key, str] = {}
        self._taken: dict[str, str] = {}  # the same by name, and what a checkpoint brought
        self._kept = _read(file)

    def known(self, key: Key) -> str | None:
        """Return the way taken for `key` in this process, or None."""
        return self._known.get(key)

    def fastest(self, key: Key, ways: Ways) -> str:
        """Return the fastest of `ways` for `key`, measured unless an earlier run has done so."""
        name = _name(key)
        way = self._taken.get(name) or self._kept.get(name)
        if way is None or way not in ways:
            way = self._measured(ways)
            self._keep(name, way)
        self._known[key] = self._taken[name] = way
        return way

    def state_dict(self) -> dict[str, str]:
        """Return the ways taken so far; a run that goes on takes them again, to round as before."""
        return dict(self._taken)

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Take the ways of a checkpoint, whatever was found here, which other runs go on taking."""
        self._taken = dict(state)
        self._known.clear()

    def _measured(self, ways: Ways) -> str:
        best = dict.fromkeys(ways, float("inf"))
        for work in ways.values():
            work()  # what a first go prepares is not counted
        for _ in range(_REPEATS):  # by turns, so that a busy machine slows all alike
            for name, work in ways.items():
                best[name] = min(best[name], self._seconds(work))
        plain = next(iter(ways))
        found = min(best, key=best.__getitem__)
        return found if best[found] < _CLEARLY * best[plain] else plain

    def _keep(self, name: str, way: str) -> None:
        """Add to the file what another process may have added to meanwhile."""
        self._kept[name] = way
        if self._file is None:
            return
        found = _read(self._file) | {name: way}
        with contextlib.suppress(OSError):  # it is measured again then
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._file.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(found, file, indent=0, sort_keys=True)
            Path(temporary).replace(self._file)


def _name(key: Key) -> str:
    return repr((torch.get_num_threads(), *key))


def _read(file: Path | None) -> dict[str, str]:
    """Read a file of choices; one that is absent or damaged holds none."""
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def file_of_this_processor() -> Path:
    """Return the file of choices: below `$XDG_CACHE_HOME` or `~/.cache`, by processor and torch."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    about = [torch.__version__, torch.backends.cpu.get_cpu_capability()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    name = hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
    return Path(base) / "image-translation" / "kernels" / f"{name}.json"


_current: list[Choices] = []


def current() -> Choices:
    """Return this process's choices."""
    if not _current:
        use(Choices(file_of_this_processor()))
    return _current[0]


def use(choices: Choices) -> None:
    """Let all layers of this process ask `choices`."""
    _current[:] = [choices]
