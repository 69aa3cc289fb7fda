"""Gray and depth to a label map: trained, previewed, tested, evaluated; and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.checkpoints import store
from core.data.images import read_image
from core.data.label_maps import one_hot, palette
from core.evaluation.metrics.segmentation import Confusion
from core.options import Input
from core.report.looks import Look, class_numbers
from tests.processes import Script
from tests.runs import changed, differences, make_trainer, small_tree


def write(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for i in range(3):
            ids = np.kron(rng.integers(0, 4, (4, 4)), np.ones((9, 9))).astype(np.uint8)
            for name, image in (("gray", ids * 60), ("depth", ids.astype(np.uint16) * 900),
                                ("mask", np.where(ids == 3, 255, ids))):  # fmt: skip
                (root / name / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(root / name / split / f"{i}.png")
    return root


def test_a_stack_becomes_a_label_map(tmp_path: Path, script: Script) -> None:
    root, run, out = write(tmp_path / "set"), tmp_path / "run", tmp_path / "out"
    tree = changed(
        small_tree("pix2pix", root),
        data={"a": ["gray", {"path": "depth", "white": 2700}], "b": {"path": "mask", "labels": 3}},
        log={"samples_every": 1},
        evaluate={"every": 1, "features": "random"},
        checkpoint={"best": "mean_iou_AtoB", "every": 1},
        train={"num_epochs": 1, "num_epochs_decay": 0},
    )
    trainer = make_trainer(tree, run)
    assert trainer.config.channels == (2, 3)
    assert trainer.train()
    last = store.load(store.find(run)[0])
    (run / "checkpoints" / "step_00000002.pt").unlink()
    first = store.load(store.find(run)[0])
    assert make_trainer(tree, run, first).train()
    assert differences(last, store.load(store.find(run)[0])) == []
    with Image.open(run / "samples" / "step_00000002.png") as grid:
        assert grid.width > 32 * 4, "gray and depth stand side by side"
    done = script("test", "--checkpoint", run, "--input", root, "--output", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    truth = read_image(root / "mask" / "test" / "1.png", 1)[..., 0]
    ids = read_image(out / "images" / "1_real_B_ids.png", 1)[..., 0]
    assert np.array_equal(ids, truth)
    found = read_image(out / "images" / "1_fake_B_ids.png", 1)[..., 0]
    colours = read_image(out / "images" / "1_fake_B.png", 3)
    assert np.array_equal(colours, palette(3)[found])
    assert (out / "images" / "1_real_A.tif").exists()
    result = tmp_path / "scores.json"
    options = ("--data", root, "--output", result, "--features", "random", "--device", "cpu")
    done = script("evaluate", "--checkpoint", run, *options, "--preprocess", "none")
    assert done.returncode == 0, done.stderr
    assert "mean_iou" in done.stdout and 0 <= _measured(result, "mean_iou") <= 1


def _measured(file: Path, name: str) -> float:
    """A measure, wherever in the record it stands."""
    found: list[float] = []

    def look(tree: object) -> None:
        for key, value in tree.items() if isinstance(tree, dict) else ():
            found.extend([value["value"]] if key == name else [])
            look(value)

    look(json.loads(file.read_text()))
    return found[0]


def test_looks_and_counts() -> None:
    ids = torch.tensor([[0, 1], [2, 255]])
    planes = torch.from_numpy(one_hot(ids.numpy(), 3, "x")).permute(2, 0, 1)
    stack = torch.cat([torch.full((1, 2, 2), 7, dtype=torch.uint8), planes])
    look = Look((Input(path="gray", channels=1), Input(path="mask", labels=3)))
    assert torch.equal(class_numbers(planes), ids)
    row = look.row(stack)
    assert row.shape == (3, 2, 4) and (row[:, :, :2] == 7).all()
    expected = [*palette(3).tolist(), [0, 0, 0]]
    assert row[:, :, 2:].permute(1, 2, 0).reshape(-1, 3).tolist() == expected
    assert torch.equal(look.first(stack), stack[:1])
    confusion = Confusion(3)
    confusion.add(class_numbers(planes), ids)
    assert confusion.scores().mean_iou == 1 and int(confusion.counts.sum()) == 3
