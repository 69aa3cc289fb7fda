"""DRIT under the trainer: exact resume, two processes, previews, too small crops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from core.errors import UserError
from tests.runs import (
    Tree,
    assert_resumes,
    changed,
    differences,
    make_trainer,
    small_tree,
    train_to_end,
    train_two,
    train_until_signal,
)

VARIANTS: dict[str, Tree] = {
    "plain": {},
    "feature_ema": {"model": {"concat": False}, "train": {"ema_decay": 0.9}},
    "spectral_bf16": {"model": {"dis_spectral_norm": True}, "train": {"precision": "bf16"}},
    "plateau_previews": {"optim": {"policy": "plateau"}, "log": {"samples_every": 3}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_equals_unbroken(variant: str, unpaired: Path, tmp_path: Path) -> None:
    """Step 3 of 8 is the last in front of a content-only one by its number, in both runs."""
    tree = changed(small_tree("drit", unpaired), **VARIANTS[variant])
    unbroken = train_to_end(tree, tmp_path / "unbroken")
    state = train_until_signal(tree, tmp_path / "broken", 3)
    resumed = train_to_end(tree, tmp_path / "broken", state)
    assert unbroken["step"] == resumed["step"]
    assert differences(unbroken, resumed) == []


def test_schedule_of_iterations_in_a_run(unpaired: Path, tmp_path: Path) -> None:
    """Seven images in batches of two: four batches, of which the last two are always full."""
    tree = changed(small_tree("drit", unpaired), model={"d_iter": 3}, log={"every": 1})
    train_to_end(tree, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    full = ["G_loss" in line["losses"] for line in lines if "losses" in line]
    assert full == [False, False, True, True] * 2


def test_two_processes_resume_exactly(unpaired: Path, tmp_path: Path) -> None:
    tree = changed(small_tree("drit", unpaired), checkpoint={"every": 2, "keep_last": 9})
    config = tmp_path / "drit.yaml"
    config.write_text(yaml.safe_dump(tree))
    train_two(config, tmp_path / "run")
    whole = assert_resumes(config, tmp_path / "run")
    steps = {
        name: {float(entry["step"]) for entry in state["state"].values()}
        for name, state in whole["optimizers"].items()
    }
    # Both processes agree, and enc_a has no part in the second step.
    assert steps["enc_c"] == steps["gen"] == {2 * step for step in steps["enc_a"]}


def test_crops_too_small_for_the_content_discriminator(unpaired: Path, tmp_path: Path) -> None:
    tree = changed(small_tree("drit", unpaired), model={"num_layers_content": 3})
    with pytest.raises(UserError, match=r"44x44 px.*these networks need 209 px"):
        make_trainer(tree, tmp_path).train()
