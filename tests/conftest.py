"""Fixtures that many tests share."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

# Threads that wait by spinning slow a busy machine tenfold; OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from tests.processes import SERVER, Done, Script

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def reference_dir() -> Path:
    """Folder of the reference cases: $REFERENCE_DIR, by default ../shared/reference."""
    return Path(os.environ.get("REFERENCE_DIR", SHARED / "reference"))


def shared_data_dir() -> Path:
    """Folder of the small real image sets: $SHARED_DATA, by default ../shared/data."""
    return Path(os.environ.get("SHARED_DATA", SHARED / "data"))


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    """Run a script's `main` in this process, for starting Python takes seconds each time."""

    def run(name: str, *args: object) -> Done:
        capsys.readouterr()
        main = importlib.import_module(f"scripts.{name}").main
        return Done(main([str(arg) for arg in args]), *capsys.readouterr())

    return run


@pytest.fixture
def quick_spawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes that the product spawns from one that has torch loaded."""
    honest = multiprocessing.get_context

    def get_context(method: str | None = None) -> BaseContext:
        return SERVER if method == "spawn" else honest(method)

    monkeypatch.setattr(multiprocessing, "get_context", get_context)
    monkeypatch.setattr("core.runtime.processes.get_context", get_context)


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
