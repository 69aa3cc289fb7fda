"""A tiny data set on disk, and runs on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.config import validate
from core.training.trainer import Trainer
from families import FAMILIES
from tests.conftest import ROOT

Tree = dict[str, Any]


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


RESNET: Tree = {"generator": "resnet_6blocks", "ngf": 4, "ndf": 4, "num_layers_dis": 2}
VAE: Tree = {"gen": {"dim": 4, "n_res": 1}, "dis": {"dim": 4, "n_layer": 2, "num_scales": 2}}
SMALL: dict[str, tuple[int, Tree]] = {
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
