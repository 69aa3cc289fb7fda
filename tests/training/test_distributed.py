"""Two gloo processes against one with the doubled batch, and their exact resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from core.checkpoints import store
from tests.conftest import ROOT
from tests.processes import Done
from tests.runs import assert_resumes, changed, environment, make_trainer, small_tree, train_two


def under_torchrun(config: Path, run_dir: Path) -> Done:
    """`torchrun scripts/train.py` with two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(ROOT / "scripts/train.py"), "--config", str(config), "--device", "cpu"]
    done = subprocess.run(
        [*command, "--run-dir", str(run_dir)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def measured(run_dir: Path) -> dict[str, float]:
    """What the last evaluation of a run has logged."""
    lines = (run_dir / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if "measures" in line][-1]["measures"]


@pytest.mark.parametrize("family", ["cyclegan", "pix2pix"])
def test_two_processes(family: str, unpaired: Path, paired: Path, tmp_path: Path) -> None:
    root = unpaired if family == "cyclegan" else paired
    # Instance norm and no dropout: otherwise samples meet, or noise differs, by definition.
    tree = changed(
        small_tree(family, root),
        model={"pool_size": 0, "norm": "instance", "dropout": False},
        checkpoint={"every": 3, "keep_last": 9},
        evaluate={"every": 8, "features": "random"},
        # Adam's usual eps turns rounding noise of vanishing gradients into steps of up to lr.
        optim={"eps": 0.01},
        # Rounding decides on which side of a kink an activation lies; then gradients part.
        train={"speed": "off"},
    )
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(changed(tree, train={"batch_size": 1})))
    done = (under_torchrun if family == "cyclegan" else train_two)(config, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    two = store.load(store.find(tmp_path / "two")[0])

    make_trainer(tree, tmp_path / "one").train()
    one = store.load(store.find(tmp_path / "one")[0])
    assert one["step"] == two["step"]
    for name, weights in one["networks"].items():
        for key, value in weights.items():
            torch.testing.assert_close(two["networks"][name][key], value, rtol=1e-4, atol=1e-6)
    # Each process has measured a part of the test images.
    assert measured(tmp_path / "two") == pytest.approx(measured(tmp_path / "one"), rel=0.02)

    assert_resumes(config, tmp_path / "two")


@pytest.mark.parametrize("family", ["cut", "munit"])
def test_two_processes_with_draws(family: str, unpaired: Path, tmp_path: Path) -> None:
    """Each process draws its own, so that one process cannot do the same; both keep one model."""
    tree = changed(
        small_tree(family, unpaired),
        train={"batch_size": 1},
        checkpoint={"every": 3, "keep_last": 9},
    )
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(tree))
    train_two(config, tmp_path / "two")
    local = assert_resumes(config, tmp_path / "two")["local"]
    assert not torch.equal(local[0]["rng"]["torch"], local[1]["rng"]["torch"])
