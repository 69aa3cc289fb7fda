"""Fixtures that many tests share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Threads that wait by spinning slow a busy machine tenfold; OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def reference_dir() -> Path:
    """Folder of the reference cases: $REFERENCE_DIR, by default ../shared/reference."""
    return Path(os.environ.get("REFERENCE_DIR", SHARED / "reference"))


def shared_data_dir() -> Path:
    """Folder of the small real image sets: $SHARED_DATA, by default ../shared/data."""
    return Path(os.environ.get("SHARED_DATA", SHARED / "data"))


@dataclass(frozen=True)
class Done:
    """What a script left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Script = Callable[..., Done]


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    """Run a script's `main` in this process, for starting Python takes seconds each time."""

    def run(name: str, *args: object) -> Done:
        capsys.readouterr()
        main = importlib.import_module(f"scripts.{name}").main
        return Done(main([str(arg) for arg in args]), *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Small networks gain nothing from a second thread, and pytest-xdist fills the cores.
    torch.set_num_threads(1)


@pytest.fixture
def shared_data() -> Path:
    """The real image sets; skips where they are absent."""
    folder = shared_data_dir()
    if not folder.is_dir():
        pytest.skip(f"no real image sets at {folder} (set $SHARED_DATA)")
    return folder
