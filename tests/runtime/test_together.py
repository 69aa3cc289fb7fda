"""Processes under torchrun that share a job."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from core.errors import UserError
from core.runtime.together import guard


def die(args: argparse.Namespace) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def succeed(args: argparse.Namespace) -> int:
    return 0


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> argparse.Namespace:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    return argparse.Namespace(output=tmp_path)


def test_a_dead_process_is_named_and_others_are_waited_for(
    one_of_two: argparse.Namespace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: list[float] = []
    held, release = threading.Event(), threading.Event()

    def be_the_other() -> None:
        with FileLock(tmp_path / "process-00001"):
            held.set()
            release.wait()
            time.sleep(0.2)
            ended.append(time.monotonic())

    thread = threading.Thread(target=be_the_other)
    thread.start()
    held.wait()
    assert guard(succeed, one_of_two, tmp_path) == 0 and not ended  # waits for nobody
    release.set()
    assert guard(die, one_of_two, tmp_path) == 1 and ended
    thread.join()
    assert "process 0 of 2 died of signal 9 (SIGKILL); the others go on" in capfd.readouterr().err


def test_two_jobs_on_one_output(one_of_two: argparse.Namespace, tmp_path: Path) -> None:
    with FileLock(tmp_path / "process-00000"), pytest.raises(UserError, match="another job is"):
        guard(succeed, one_of_two, tmp_path)
