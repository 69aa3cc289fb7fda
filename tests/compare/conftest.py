"""A small comparison: runs of every state, style methods, and names that must be escaped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.checkpoints import store
from core.compare import comparison, cost, entries
from core.compare.config import Comparison, Config
from core.compare.drawing import Drawing
from core.compare.entries import Method
from core.config import load_config, validate
from families import FAMILIES, STYLIZERS
from tests.runs import Tree, changed, make_trainer, small_tree
from tests.small import family

SIDE = 32
SHARP = 'Sharp <b>"1"</b> | *x*'


def in_this_process(work: Any, *args: Any) -> Any:
    """What `run_in_subprocess` does, without the seconds that starting Python takes."""
    return work(*args)


def make_images(root: Path, sizes: tuple[tuple[int, int], ...] = ((SIDE, SIDE),)) -> Path:
    """Four training and three test images of each domain, and the truth of testA."""
    generator = np.random.default_rng(0)
    for folder, count in (("trainA", 4), ("trainB", 4), ("testA", 3), ("testB", 3), ("truthB", 3)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            width, height = sizes[number % len(sizes)]
            pixels = generator.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            image.save(root / folder / f"{number} #%.png")
    return root


def save_untrained(path: Path, built: Any) -> Path:
    """A checkpoint as conversion writes it."""
    networks = {key: network.state_dict() for key, network in built.networks.items()}
    config = built.config.model_dump(mode="json")
    state = {"family": built.name, "config": config, "step": 0, "networks": networks}
    store.save(state, path)
    return path


def run_tree(name: str, root: Path, steps: int) -> Tree:
    """Options of a run of so many steps, with a checkpoint every second one."""
    tree = small_tree(name, root)
    data = {"load_size": SIDE, "crop_size": SIDE}
    train = {"num_steps": steps, "batch_size": 1}
    tree = changed(tree, data=data, train=train, checkpoint={"every": 2}, log={"every": 1})
    return changed(tree, evaluate={"every": 1, "max_images": 1, "num_styles": 2})


def write_config(folder: Path, tree: Tree, name: str = "small") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def load(path: Path) -> Config:
    config: Config = load_config(path, {"compare": Comparison})
    return config


def damage(path: Path) -> None:
    """One byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def compare_tree(root: Path, entries_: list[Tree], **rest: Any) -> Tree:
    return {
        "family": "compare",
        "data": {"root": str(root), "size": SIDE},
        "entries": entries_,
        "show": {"num_images": 2, "num_examples": 2, "num_random": 1},
        "evaluate": {"num_styles": 2},
        "inference": {"sizes": [48, SIDE], "repeats": 2},
        **rest,
    }


@dataclass(frozen=True)
class Report:
    """A written report and what it was made of."""

    folder: Path
    config: Config
    methods: list[Method]
    drawing: Drawing


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Nine entries: four that work, one of them unfinished, and five that cannot."""
    folder = tmp_path_factory.mktemp("compare")
    root = make_images(folder / "data & more")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder / "no_weights"))
        patch.setattr(cost, "run_in_subprocess", in_this_process)
        patch.setattr(entries, "run_in_subprocess", in_this_process)
        torch.manual_seed(0)
        munit = write_config(folder, run_tree("munit", root, 2), "munit")
        assert make_trainer(run_tree("cyclegan", root, 4), folder / "cyclegan").train()
        damage(store.step_path(folder / "cyclegan" / "checkpoints", 4))
        # Of another name than the files that the small runs leave.
        save_untrained(folder / "pix.pt", family("pix2pix"))
        dcgan = FAMILIES["dcgan"]
        tree = {"family": "dcgan", "data": {"root": ""}, "model": {"ngf": 4, "ndf": 4, "nz": 4}}
        save_untrained(folder / "dcgan.pt", dcgan.build(validate(dcgan.Config, tree)))
        (folder / "broken.pt").write_bytes(b"no checkpoint" * 20)
        photo = {"family": "photo_style", "encoder": "wavelet", "smoothing": "none", "post": False}
        listed = [
            {"name": "CycleGAN", "checkpoint": str(folder / "cyclegan")},
            {"name": "MUNIT", "config": str(munit), "run": str(folder / "munit")},
            {"name": SHARP, "checkpoint": str(folder / "pix.pt")},
            {"name": "=Photo", "config": str(write_config(folder, photo, "photo"))},
            {"name": "Missing", "checkpoint": str(folder / "nowhere")},
            {"name": "Faces", "checkpoint": str(folder / "dcgan.pt")},
            {"name": "Broken", "checkpoint": str(folder / "broken.pt")},
            {"name": "Typo", "config": str(munit), "set": ["train.num_stepps=1"]},
            {"name": "Odd", "config": str(folder / "photo.yaml"), "run": "somewhere"},
        ]
        path = write_config(folder, compare_tree(root, listed))
        config = load(path)
        methods, drawing = comparison.compare(config, folder / "report", FAMILIES, STYLIZERS, "cpu")
    return Report(folder / "report", config, methods, drawing)
