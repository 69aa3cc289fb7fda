"""Scripts answer before torch is imported, and their work imports only what it uses."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.runtime import cli, start
from tests.conftest import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))

# One process asks every script for its help and with a wrong option, and notes who imported torch.
# Then three of them refuse a missing file, which they see only once their work is imported.
PROGRAM = """
import contextlib, importlib, io, json, sys
heavy, *scripts = json.loads(sys.argv[1])
report = {"torch": []}
for name in scripts:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        for option, code in (("--help", 0), ("--no-such-option", 2)):
            try:
                importlib.import_module(f"scripts.{name}").main([option])
            except SystemExit as end:
                assert end.code == code, (name, option, end.code)
    assert out.getvalue().count("usage: ") == 2, name
    if "torch" in sys.modules:
        report["torch"].append(name)
for name, arguments in json.loads(sys.argv[2]).items():
    with contextlib.redirect_stderr(io.StringIO()) as out:
        assert importlib.import_module(f"scripts.{name}").main(arguments) == 2
    assert "missing" in out.getvalue()
report["heavy"] = [name for name in heavy if name in sys.modules]
print(json.dumps(report))
"""
HEAVY = ["torchvision", "lpips", "tensorboard", "matplotlib", "torch._dynamo"]


def test_scripts_answer_without_torch(tmp_path: Path) -> None:
    arguments = [json.dumps([HEAVY, *SCRIPTS]), json.dumps(start.REFUSED)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"torch": [], "heavy": []}


def test_ratios_are_to_importing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"-c": 2.0, "--help": 0.1, "--no-such-option": 0.2}
    monkeypatch.setattr(
        start, "run_time", lambda command, _: seconds.get(command[-1], seconds["-c"])
    )
    report = start.measure(ROOT / "scripts", repeats=3)
    assert list(report["ratios"]) == SCRIPTS
    assert report["ratios"]["app"] == {"help": 0.05, "usage error": 0.1}
    assert set(report["ratios"]["train"]) == {"help", "usage error", "work"}
    assert all(name in start.table(report) for name in SCRIPTS)


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(UserError, match="exit code 1: "):
        start.run_time([sys.executable, "-c", "raise SystemExit(1)"], 0)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("a\n b"), 2, "error: a b"),
        (OSError(28, "No space left", "file.png"), 2, "error: file.png: No space left"),
        (torch.OutOfMemoryError("of 2 GiB\n..."), 2, "error: out of GPU memory (of 2 GiB)"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: argparse.Namespace) -> None:
        raise error

    assert cli.main("doc", lambda parser: None, work, []) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize("error", [RuntimeError("bug"), OSError("no file")])
def test_our_bugs_keep_their_trace(error: Exception) -> None:
    def work(_: argparse.Namespace) -> None:
        raise error

    with pytest.raises(type(error)):
        cli.main("doc", lambda parser: None, work, [])


def test_numbers_below_the_least_are_refused() -> None:
    args = argparse.Namespace(max_images=None, num_styles=1)
    cli.require_at_least(args, max_images=1, num_styles=1)
    with pytest.raises(UserError, match="--num-styles 1: at least 2"):
        cli.require_at_least(args, num_styles=2)
