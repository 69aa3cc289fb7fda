"""N steps, stop, resume, M steps equals N + M steps, bit for bit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from core.checkpoints import store
from families import load
from scripts.train import main
from tests.processes import Script
from tests.runs import (
    Tree,
    changed,
    differences,
    make_trainer,
    small_tree,
    start_training,
    train_to_end,
    train_until_signal,
)

VARIANTS: dict[str, Tree] = {
    "plain": {},
    "workers": {"data": {"num_workers": 2, "cache": "ram"}},
    "ema": {"train": {"ema_decay": 0.9}},
    "bf16": {"train": {"precision": "bf16", "channels_last": True}},
    "dropout": {"model": {"dropout": True, "norm": "batch"}},
    "pool": {"model": {"pool_size": 3}},
    "plateau": {"optim": {"policy": "plateau"}},
    "previews": {"log": {"samples_every": 3}, "model": {"dropout": True}},
    "evaluations": {"evaluate": {"every": 3, "max_images": 1}, "model": {"dropout": True}},
}


RUNS = [(family, variant) for family in ("cyclegan", "pix2pix") for variant in VARIANTS]
# What the loop does for every family, in one run: each part was resumed by itself above.
TOGETHER: Tree = {
    "data": VARIANTS["workers"]["data"],
    "train": VARIANTS["ema"]["train"] | VARIANTS["bf16"]["train"],
    "optim": VARIANTS["plateau"]["optim"],
    "log": VARIANTS["previews"]["log"],
}
VARIANTS["together"] = TOGETHER
RUNS += [(f, variant) for f in ("cut", "munit", "unit") for variant in ("plain", "together")]


@pytest.mark.parametrize(("family", "variant"), RUNS)
def test_resumed_equals_unbroken(
    family: str, variant: str, unpaired: Path, paired: Path, tmp_path: Path
) -> None:
    root = paired if family == "pix2pix" else unpaired
    tree = changed(small_tree(family, root), **VARIANTS[variant])
    unbroken = train_to_end(tree, tmp_path / "unbroken")
    # Step 3 lies inside the first unpaired epoch (4 steps), and at the end of pix2pix's.
    state = train_until_signal(tree, tmp_path / "broken", 3)
    resumed = train_to_end(tree, tmp_path / "broken", state)
    assert unbroken["step"] == resumed["step"]
    assert differences(unbroken, resumed) == []
    weights = unbroken["networks"]
    assert not all(
        torch.equal(weights[n][k], state["networks"][n][k]) for n in weights for k in weights[n]
    )


def test_checkpoint_with_a_retired_option_loads_and_goes_on(unpaired: Path, tmp_path: Path) -> None:
    """As written by an earlier version, whose options held `train.joint_forward`."""
    tree, run = small_tree("cyclegan", unpaired), tmp_path / "broken"
    unbroken = train_to_end(tree, tmp_path / "unbroken")
    state = train_until_signal(tree, run, 3)
    state["config"]["train"]["joint_forward"] = True
    file = store.step_path(run / "checkpoints", 3)
    store.save(state, file)
    assert load(file, "cpu").family.config == make_trainer(tree, tmp_path / "other").config
    assert main(["--resume", str(run), "--device", "cpu"]) == 0
    assert differences(unbroken, store.load(store.find(run)[0])) == []


def test_log_and_samples_of_a_resumed_run_have_no_line_twice(
    unpaired: Path, tmp_path: Path
) -> None:
    tree = changed(small_tree("cyclegan", unpaired), log={"every": 1, "samples_every": 2})
    tree = changed(tree, checkpoint={"every": 3, "keep_last": 5})
    train_to_end(tree, tmp_path)
    state = store.load(store.step_path(tmp_path / "checkpoints", 3))
    train_to_end(tree, tmp_path, state)
    lines = [yaml.safe_load(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "losses" in line] == list(range(1, 9))
    assert (tmp_path / "index.html").read_text().count("<article") == 5


def test_power_loss_and_a_damaged_checkpoint(
    unpaired: Path, tmp_path: Path, script: Script
) -> None:
    """kill -9 in the middle; the newest file is cut; the one before it is taken, and it is said."""
    tree = changed(
        small_tree("cyclegan", unpaired),
        # Another process measures ways of its own before it is killed.
        train={"num_epochs": 3, "speed": "off"},
        checkpoint={"every": 2, "keep_last": 100},
    )
    config, run = tmp_path / "small.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(tree))
    process = start_training(config, run)
    deadline = time.monotonic() + 120
    while len(store.listed(run / "checkpoints")) < 2:
        assert process.poll() is None, "ended before two checkpoints"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    newest = store.listed(run / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-1000])
    done = script("train", "--config", config, "--run-dir", run, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"damaged: {newest}" in done.stdout
    resumed = store.load(store.find(run)[0])
    unbroken = train_to_end(tree, tmp_path / "unbroken")
    assert differences(unbroken, resumed) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_tells_how_to_resume(
    number: signal.Signals, unpaired: Path, tmp_path: Path
) -> None:
    tree = changed(small_tree("cyclegan", unpaired), train={"num_epochs": 5000})
    tree = changed(tree, data={"num_workers": 1}, log={"every": 1})
    config, run = tmp_path / "small.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(tree))
    process = start_training(config, run)
    deadline = time.monotonic() + 120
    log = run / "log.jsonl"
    while not log.exists() or '"losses"' not in log.read_text():  # until it trains
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    # As from a terminal: the whole group gets it, loader processes too.
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + number, stderr
    assert f"--resume {run}" in stdout
    assert "Traceback" not in stderr
    assert store.find(run)
