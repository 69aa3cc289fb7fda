"""Fixtures that many tests share."""

from __future__ import annotations

import ctypes
import gc
import importlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

# Threads that wait by spinning slow a busy machine tenfold; OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from hypothesis import settings
from PIL import Image

import tests.fixed_ways  # noqa: F401  (importing it is what it is for)
from tests.processes import SERVER, Done, Script

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# The same examples at every run, however long one takes.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def reference_dir() -> Path:
    """Folder of the reference cases: $REFERENCE_DIR, by default ../shared/reference."""
    return Path(os.environ.get("REFERENCE_DIR", SHARED / "reference"))


def shared_data_dir() -> Path:
    """Folder of the small real image sets: $SHARED_DATA, by default ../shared/data."""
    return Path(os.environ.get("SHARED_DATA", SHARED / "data"))


@pytest.fixture(autouse=True, scope="module")
def _give_memory_back() -> Iterator[None]:
    """Return what a module's tests freed: some switch on that the process keeps it for itself."""
    yield
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


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


@pytest.fixture(scope="session")
def unpaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of A and five of B, 40x36 px, and three test images of each."""
    root = tmp_path_factory.mktemp("unpaired")
    generator = np.random.default_rng(0)
    for folder, count in (("trainA", 7), ("trainB", 5), ("testA", 3), ("testB", 3)):
        (root / folder).mkdir()
        for number in range(count):
            pixels = generator.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five side-by-side pairs, each half 36x36 px, and two for testing."""
    root = tmp_path_factory.mktemp("paired")
    generator = np.random.default_rng(1)
    for folder, count in (("train", 5), ("val", 2)):
        (root / folder).mkdir()
        for number in range(count):
            pixels = generator.integers(0, 256, (36, 72, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


@pytest.fixture(autouse=True, scope="session")
def _freed_memory_is_returned() -> Iterator[None]:
    # A process that keeps what it frees grows to gigabytes over a thousand tests of many sizes.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.cpu.accelerate.keep_freed_memory", lambda: None)
        yield


@pytest.fixture(autouse=True)
def _any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half precision is tried out on every processor, and narrow networks are not told apart.
    monkeypatch.setattr("core.training.speed.emulates_bf16", lambda _: False)
    monkeypatch.setattr("core.training.speed._has_avx512", lambda: True)


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
