"""A new run with the weights of another training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from core.checkpoints import store
from tests.processes import Script
from tests.runs import Tree, changed, make_trainer, small_tree


@pytest.fixture(scope="module")
def other(unpaired: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with another seed, averages, and discriminators of fewer layers than the new one's."""
    run = tmp_path_factory.mktemp("other")
    tree = changed(
        small_tree("cyclegan", unpaired),
        train={"seed": 7, "num_epochs_decay": 0, "ema_decay": 0.9},
        model={"num_layers_dis": 1},
    )
    make_trainer(tree, run).train()
    return run


@pytest.fixture
def config(unpaired: Path, tmp_path: Path) -> Path:
    """Two steps on other data, in another order."""
    tree = changed(
        small_tree("cyclegan", unpaired),
        train={"num_steps": 2},
        data={"max_images": 4},
        checkpoint={"every": 1, "keep_last": 9},
        optim={"lr": 1e-12},
    )
    path = tmp_path / "new.yaml"
    path.write_text(json.dumps(tree))
    return path


def state_of(run: Path, step: int | None = None) -> Tree:
    return store.load(
        store.find(run)[0] if step is None else store.step_path(run / "checkpoints", step)
    )


def same(run: Path, network: str, weights: Tree) -> bool:
    """Whether a run's first checkpoint has these weights, but for a step at a rate near zero."""
    found = state_of(run, 1)["networks"][network]
    return all(torch.allclose(found[k], weights[k], atol=1e-7) for k in weights)


def test_networks_that_fit_are_taken(
    other: Path, config: Path, tmp_path: Path, script: Script
) -> None:
    run = tmp_path / "run"
    begin = ("train", "--config", config, "--run-dir", run, "--init", other, "--device", "cpu")
    done = script(*begin, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    then = state_of(other)["networks"]
    assert same(run, "G_A", then["G_A"]) and same(run, "G_B", then["G_B"])
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows["G_A"].endswith("taken") and "new: lacks 2 key(s)" in rows["D_A"], done.stdout
    assert "was 1, is 2" in rows["model.num_layers_dis"]
    assert "G_A  taken" in (run / "log.jsonl").read_text()
    assert state_of(run)["step"] == 2 and state_of(run, 1)["schedule"]["position"] == 1
    # A run that goes on has its own weights.
    again = script(*begin, "--resume", "auto", "--set", "train.num_steps=3")
    assert again.returncode == 0 and "taken" not in again.stdout
    assert state_of(run)["step"] == 3


@pytest.mark.parametrize("form", ["official.pth", "converted.pt", "ours.safetensors"])
def test_official_files_and_converted_ones_are_trained_on(
    form: str, other: Path, config: Path, tmp_path: Path, script: Script
) -> None:
    source = tmp_path / form
    if form == "ours.safetensors":
        words = ("--export", other, "--format", "safetensors", "--output", source)
        assert script("convert", *words).returncode == 0
    else:
        script("convert", "--export", other, "--output", tmp_path / "official")
        single = tmp_path / "official" / "latest_net_G_A.pth"
        if form == "official.pth":
            source = single
        else:
            words = ("--family", "cyclegan", "--input", single, "--output", source)
            assert script("convert", *words).returncode == 0
    run = tmp_path / "run"
    begin = ("train", "--config", config, "--run-dir", run, "--device", "cpu")
    done = script(*begin, "--init", source, "--init-only", "G_A")
    assert done.returncode == 0, done.stderr
    expected = state_of(other)["ema"]["G_A"]
    assert same(run, "G_A", expected)
    assert not same(run, "G_B", state_of(other)["ema"]["G_B"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--init-only", "G_C"), "G_C: no such network; cyclegan has G_A"),
        (("--init-only", "G_A,D_A"), "network D_A: lacks 2 key"),
        (("--resume", ""), "leave out --resume"),
        (("--set", "model.ngf=8", "--set", "model.ndf=8"), "no network fits"),
    ],
)
def test_what_does_not_fit_begins_nothing(
    more: tuple[str, ...], said: str, other: Path, config: Path, tmp_path: Path, script: Script
) -> None:
    run = tmp_path / "run"
    done = script("train", "--config", config, "--run-dir", run, "--init", other, *more)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not run.exists()
