"""Bad input and bad luck: one line, exit code 2, nothing lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import cyclegan.family
from core.checkpoints import store
from core.errors import UserError
from core.family import ImageBatch
from tests.processes import Done, Script, file_size_limit
from tests.runs import Tree, changed, make_trainer, small_tree


def one_line(done: Done) -> str:
    """The error line of a script that failed as it should."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def write(tree: Tree, folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_nonfinite_steps_are_skipped_kept_and_counted(
    unpaired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"count": 0}
    honest = cyclegan.family.gen_loss

    def sometimes_nan(prediction: torch.Tensor, mode: Any) -> torch.Tensor:
        calls["count"] += 1
        bad = calls["count"] in (3, 4)  # both terms of the second step
        return honest(prediction, mode) * (float("nan") if bad else 1.0)

    monkeypatch.setattr(cyclegan.family, "gen_loss", sometimes_nan)
    trainer = make_trainer(small_tree("cyclegan", unpaired), tmp_path)
    assert trainer.train()
    (kept,) = (tmp_path / "nonfinite").iterdir()
    batch = torch.load(kept, weights_only=True)
    assert batch["step"] == 2
    assert batch["a"].dtype == torch.uint8
    assert all(name in (tmp_path / "log.jsonl").read_text() for name in batch["names_a"])
    for network in trainer.family.networks.values():
        assert all(torch.isfinite(p).all() for p in network.parameters())
    assert trainer.family.optimizers["G"].state_dict()["state"][0]["step"] == 7
    assert trainer.family.optimizers["D"].state_dict()["state"][0]["step"] == 8


def test_too_many_nonfinite_steps_stop_and_save(
    unpaired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cyclegan.family, "l1", lambda x, _: x.sum() * float("inf"))
    tree = changed(small_tree("cyclegan", unpaired), train={"max_nonfinite_steps": 3})
    with pytest.raises(UserError, match="not finite for 3 steps in a row, last at step 3"):
        make_trainer(tree, tmp_path).train()
    state = store.load(store.find(tmp_path)[0])
    assert state["step"] == 3
    assert all(torch.isfinite(v).all() for v in state["networks"]["G_A"].values())


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda t: changed(t, train={"btach_size": 1}), "did you mean `batch_size`"),
        (lambda t: changed(t, data={"root": "/nowhere"}), "/nowhere"),
        (lambda t: changed(t, data={"crop_size": 34}), "multiples of 4; set data.crop_size"),
        (lambda t: changed(t, data={"crop_size": 8}), "need 12 px"),
        (lambda t: changed(t, family="cyclegann"), "did you mean `cyclegan`"),
    ],
)
def test_bad_configs(
    broken: Callable[[Tree], Tree], said: str, unpaired: Path, tmp_path: Path, script: Script
) -> None:
    tree = small_tree("cyclegan", unpaired)
    tree = {**tree, "family": "cyclegann"} if said.endswith("`cyclegan`") else broken(tree)
    config = write(tree, tmp_path)
    assert said in one_line(script("train", "--config", config, "--run-dir", tmp_path / "run"))


@pytest.mark.parametrize("family", ["cyclegan", "pix2pix"])
def test_sizes_are_brought_to_what_fits(
    family: str, unpaired: Path, paired: Path, tmp_path: Path
) -> None:
    root = unpaired if family == "cyclegan" else paired
    tree = changed(small_tree(family, root), data={"load_size": 34, "crop_size": 34, "fit": "pad"})
    trainer = make_trainer(tree, tmp_path / "run")
    seen: list[torch.Tensor] = []
    step = trainer.family.training_step

    def watched(batch: ImageBatch, *rest: Any) -> Any:
        seen.append(batch.a)
        return step(batch, *rest)

    trainer.family.training_step = watched
    assert trainer.train()
    multiple = trainer.family.multiple
    side = -(-34 // multiple) * multiple
    assert {tuple(images.shape[2:]) for images in seen} == {(side, side)}
    before, border = (side - 34) // 2, seen[0]
    assert torch.equal(border[..., before - 1, :], border[..., before + 1, :])  # mirrored


def test_bad_folders(unpaired: Path, tmp_path: Path) -> None:
    for folder in ("trainA", "trainB"):
        root = tmp_path / f"no-{folder}"
        shutil.copytree(unpaired, root)
        shutil.rmtree(root / folder)
        with pytest.raises(UserError, match=folder):
            make_trainer(small_tree("cyclegan", root), tmp_path / "run")
        (root / folder).mkdir()
        with pytest.raises(UserError, match=folder):
            make_trainer(small_tree("cyclegan", root), tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cache", ["none", "ram"])
def test_truncated_image_is_refused_or_skipped(
    workers: int, cache: str, unpaired: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(unpaired, root)
    victim = root / "trainA" / "3.png"
    victim.write_bytes(victim.read_bytes()[:-700])
    tree = changed(small_tree("cyclegan", root), data={"num_workers": workers, "cache": cache})
    tree = changed(tree, train={"num_epochs_decay": 0})  # one epoch has every image
    with pytest.raises(UserError, match=r"3\.png"):
        make_trainer(tree, tmp_path / "refuse").train()
    assert make_trainer(changed(tree, data={"on_error": "skip"}), tmp_path / "skip").train()


def test_one_pixel_image_trains(unpaired: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(unpaired, root)
    Image.new("RGB", (1, 1), "red").save(root / "trainA" / "3.png")
    tree = changed(small_tree("cyclegan", root), train={"num_epochs_decay": 0})
    assert make_trainer(tree, tmp_path / "run").train()


def test_run_folder_in_use_or_unwritable(unpaired: Path, tmp_path: Path, script: Script) -> None:
    config = write(changed(small_tree("cyclegan", unpaired), train={"num_epochs": 0}), tmp_path)
    assert script("train", "--config", config, "--run-dir", tmp_path / "run").returncode == 0
    said = one_line(script("train", "--config", config, "--run-dir", tmp_path / "run"))
    assert "--resume" in said
    (tmp_path / "file").write_text("")
    said = one_line(script("train", "--config", config, "--run-dir", tmp_path / "file" / "run"))
    assert "file" in said


def test_full_disk_loses_nothing(unpaired: Path, tmp_path: Path, script: Script) -> None:
    """A limit on file size stands for the full disk: the first checkpoint fits, a larger not."""
    tree = changed(small_tree("cyclegan", unpaired), checkpoint={"every": 2, "keep_last": 9})
    tree = changed(tree, train={"num_epochs": 4}, log={"every": 100})
    config = write(tree, tmp_path)
    run = tmp_path / "run"
    first = make_trainer(tree, run).save()
    whole = first.read_bytes()
    with file_size_limit(len(whole) // 2):
        done = script("train", "--config", config, "--run-dir", run, "--resume")
    assert "cannot write the checkpoint" in one_line(done)
    assert first.read_bytes() == whole
    assert [path.name for path in (run / "checkpoints").iterdir()] == [first.name]


def test_foreign_checkpoints(unpaired: Path, paired: Path, tmp_path: Path, script: Script) -> None:
    tree = changed(small_tree("pix2pix", paired), train={"num_epochs": 0})
    make_trainer(tree, tmp_path / "pix2pix").train()
    config = write(small_tree("cyclegan", unpaired), tmp_path)
    resume = ("--config", config, "--run-dir", tmp_path / "run", "--resume")
    assert "family" in one_line(script("train", *resume, tmp_path / "pix2pix"))
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"PK\x03\x04 not a checkpoint" * 10)
    assert "junk.pt" in one_line(script("train", *resume, junk))
    other = changed(tree, model={"ngf": 6})
    narrow = script("train", "--config", write(other, tmp_path), "--resume", tmp_path / "pix2pix")
    assert "model.ngf" in one_line(narrow)


def test_weights_of_another_shape_name_network_key_and_shapes(
    unpaired: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(small_tree("cyclegan", unpaired), tmp_path / "a")
    state = store.load(trainer.save())
    wide = changed(small_tree("cyclegan", unpaired), model={"ngf": 8})
    with pytest.raises(UserError, match=r"saved with model\.ngf = 4, now 8"):
        make_trainer(wide, tmp_path / "b", state)
    state["config"]["model"]["ngf"] = 8  # a file made by hand
    with pytest.raises(UserError, match=r"G_A.*model\.1\.weight.*\[4, 3, 7, 7\].*\[8, 3, 7, 7\]"):
        make_trainer(wide, tmp_path / "b", state)
