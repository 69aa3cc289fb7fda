"""Small trainings: their options, ways to run them, and the comparison of their checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from core.checkpoints import store
from core.config import validate
from core.training.trainer import Trainer
from families import FAMILIES
from tests.conftest import ROOT
from tests.processes import Done, run_ranks

Tree = dict[str, Any]

RESNET: Tree = {"generator": "resnet_6blocks", "ngf": 4, "ndf": 4, "num_layers_dis": 2}
VAE: Tree = {"gen": {"dim": 4, "n_res": 1}, "dis": {"dim": 4, "n_layer": 2, "num_scales": 2}}
SMALL: dict[str, tuple[int, Tree]] = {
    "cut": (32, RESNET | {"discriminator": "n_layers", "netF_nc": 8, "flip_equivariance": True}),
    "cyclegan": (32, RESNET | {"discriminator": "n_layers"}),
    "drit": (44, {"dim": 4, "dim_dis": 4, "dis_scale": 2, "num_layers_content": 1, "d_iter": 2}),
    "munit": (32, VAE | {"recon_x_cyc_w": 10.0}),
    "pix2pix": (32, RESNET | {"discriminator": "n_layers"}),
    "unit": (32, VAE),
}
"""Crop in pixels, and model options."""


def small_tree(family: str, root: Path) -> Tree:
    """Options of a run that takes a fraction of a second."""
    crop, model = SMALL[family]
    return {
        "family": family,
        "name": f"{family}/small",
        "data": {"root": str(root), "load_size": crop + 4, "crop_size": crop, "num_workers": 0},
        "train": {"num_epochs": 1, "num_epochs_decay": 1, "num_steps": None, "batch_size": 2},
        "model": model,
        "log": {"every": 2, "samples_every": 0, "num_samples": 2},
        "checkpoint": {"every": 1000},
    }


def changed(tree: Tree, **sections: Tree) -> Tree:
    """The tree with keys of its sections replaced."""
    return {**tree, **{name: {**tree.get(name, {}), **part} for name, part in sections.items()}}


def make_trainer(tree: Tree, run_dir: Path, resume: Tree | None = None) -> Trainer:
    """A trainer in this process."""
    kind = FAMILIES[tree["family"]]
    return Trainer(kind, validate(kind.Config, tree), run_dir, resume=resume)


def differences(x: Any, y: Any, path: str = "") -> list[str]:
    """Paths at which two checkpoints differ in any bit, the clock aside."""
    if isinstance(x, torch.Tensor):
        return [] if x.dtype == y.dtype and torch.equal(x, y) else [path]
    if isinstance(x, dict):
        if x.keys() != y.keys():
            return [f"{path}: keys"]
        rest = [key for key in x if key != "elapsed_seconds"]
        return [d for key in rest for d in differences(x[key], y[key], f"{path}/{key}")]
    if isinstance(x, list | tuple):
        if len(x) != len(y):
            return [f"{path}: length"]
        return [
            d
            for i, (u, v) in enumerate(zip(x, y, strict=True))
            for d in differences(u, v, f"{path}/{i}")
        ]
    return [] if x == y else [path]


def environment() -> dict[str, str]:
    """Of a script: the project on the path, one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def train_to_end(tree: Tree, run_dir: Path, resume: Tree | None = None) -> Tree:
    """Train, and return the state of the last checkpoint."""
    assert make_trainer(tree, run_dir, resume).train()
    return store.load(store.find(run_dir)[0])


def train_until_signal(tree: Tree, run_dir: Path, step: int) -> Tree:
    """Train, receive SIGTERM in the middle of `step`, and return the checkpoint's state."""
    trainer = make_trainer(tree, run_dir)
    inner = trainer.family.training_step

    def training_step(*args: object) -> object:
        if trainer.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(*args)

    trainer.family.training_step = training_step  # type: ignore[method-assign]
    assert not trainer.train()
    state = store.load(store.find(run_dir)[0])
    assert state["step"] == step
    return state


def start_training(config: Path, run_dir: Path) -> subprocess.Popen[str]:
    """Start `python scripts/train.py` in a process group of its own, as from a terminal."""
    script = str(ROOT / "scripts" / "train.py")
    return subprocess.Popen(
        [sys.executable, script, "--config", str(config), "--run-dir", str(run_dir)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def train_two(config: Path, run_dir: Path, *more: str) -> Done:
    """Train in two processes, as under torchrun but without its seconds."""
    options = ("--config", config, "--device", "cpu", "--run-dir", run_dir, *more)
    done = run_ranks(config.parent, "train", *options)
    assert done.returncode == 0, done.stderr
    return done


def assert_resumes(config: Path, run_dir: Path) -> Tree:
    """Again from the middle: each process finds its own state. Returns the last checkpoint's."""
    newest = store.find(run_dir)[0]
    two = store.load(newest)
    newest.unlink()
    assert "resuming" in train_two(config, run_dir, "--resume").stdout
    assert differences(two, store.load(newest)) == []
    return two
