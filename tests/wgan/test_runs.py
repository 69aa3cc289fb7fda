"""WGAN through the trainer and the scripts, on a handful of procedural faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from core.checkpoints import store
from core.errors import UserError
from core.procedural.sets import make_faces
from families import load_sampler
from tests.conftest import ROOT
from tests.processes import Script
from tests.runs import Tree, changed, differences, make_trainer

PENALTY: Tree = {
    "model": {"nz": 5, "ngf": 4, "ndf": 4, "num_critic": 2},
}
CLIP: Tree = {
    "model": PENALTY["model"]
    | {"constraint": "clip", "norm_critic": "batch", "num_critic_warm_up": 3}
    | {"num_warm_up": 1, "warm_up_every": 2},
    "optim": {"optimizer": "rmsprop"},
}
VARIANTS: dict[str, Tree] = {
    "penalty": PENALTY,
    "clip": CLIP,
    "ema": changed(PENALTY, train={"ema_decay": 0.9}),
    "bf16": changed(PENALTY, train={"precision": "bf16", "channels_last": True}),
    "plateau": changed(PENALTY, optim={"policy": "plateau"}),
    "text": changed(PENALTY, model={"text": {"interpolation": 1.0}}, data={"tags": "tags.csv"}),
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 procedural faces of 32 px."""
    root = tmp_path_factory.mktemp("data") / "faces"
    make_faces(root, size=32, num_images=24)
    return root


def tree_for(root: Path, variant: Tree) -> Tree:
    data = {"root": str(root), "load_size": 32, "crop_size": 32, "num_workers": 0}
    base: Tree = {
        "family": "wgan",
        "name": "wgan/small",
        "data": data,
        "train": {"num_steps": 8, "batch_size": 4},
        "log": {"every": 2, "samples_every": 4, "samples_every_epochs": 0, "num_samples": 4},
        "checkpoint": {"every": 5, "keep_last": 5},
    }
    return changed(base, **variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_equals_unbroken(variant: str, faces: Path, tmp_path: Path) -> None:
    tree = tree_for(faces, VARIANTS[variant])
    assert make_trainer(tree, tmp_path / "run").train()
    folder = tmp_path / "run" / "checkpoints"
    # In the middle of the warm-up's second long turn, and of an epoch.
    middle = store.load(store.step_path(folder, 5))
    assert make_trainer(tree, tmp_path / "again", middle).train()
    ends = [store.load(store.find(tmp_path / name)[0]) for name in ("run", "again")]
    assert ends[0]["step"] == 8
    assert differences(*ends) == []


def test_log_shows_what_the_papers_plot(faces: Path, tmp_path: Path) -> None:
    make_trainer(tree_for(faces, PENALTY), tmp_path).train()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["losses"] for line in lines if "losses" in line]
    assert losses
    for terms in losses:
        assert {"negative_critic_loss", "gradient_penalty", "G"} <= terms.keys()
        assert terms["negative_critic_loss"] == pytest.approx(-terms["critic"])
    assert not [line for line in lines if "discriminator has won" in line.get("alarm", "")]


def test_images_of_another_size_are_refused(faces: Path, tmp_path: Path) -> None:
    tree = changed(tree_for(faces, PENALTY), data={"crop_size": 64, "preprocess": "none"})
    with pytest.raises(UserError, match=r"images/\d+\.png: 32x32 px .* makes images of 64x64 px"):
        make_trainer(tree, tmp_path).train()


@pytest.fixture(scope="module")
def run_dir(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of eight steps."""
    folder = tmp_path_factory.mktemp("run")
    assert make_trainer(tree_for(faces, PENALTY), folder).train()
    return folder


@pytest.mark.parametrize(("name", "folder"), [("mnist", "mnist"), ("anime", "anime_tags")])
def test_published_configs_on_real_data(
    name: str, folder: str, shared_data: Path, tmp_path: Path
) -> None:
    tree = yaml.safe_load((ROOT / "configs" / "wgan" / f"{name}.yaml").read_text())
    tree = changed(
        tree | {"name": f"wgan/{name}"},
        data={"root": str(shared_data / folder), "max_images": 12, "num_workers": 0},
        train={"num_steps": 2, "batch_size": 2},
        model={"ngf": 4, "ndf": 4, "num_critic": 2},
    )
    assert make_trainer(tree, tmp_path).train()
    assert (tmp_path / "samples" / "samples.gif").exists()


def test_every_tool_of_the_script(run_dir: Path, tmp_path: Path, script: Script) -> None:
    def latent(tool: str, *args: object) -> tuple[int, str]:
        folders = ("--checkpoint", run_dir, "--output", tmp_path / tool, "--device", "cpu")
        done = script("latent", tool, *folders, *args)
        return done.returncode, done.stderr

    assert latent("sample", "--num", 4, "--seed", 3)[0] == 0
    z = [tmp_path / "sample" / f"000{i}.npy" for i in range(4)]
    for tool, args, file in (
        ("arithmetic", ("--a", z[0], z[1], "--b", z[2], "--c", z[3]), "arithmetic.png"),
        ("interpolate", ("--points", z[0], z[1], "--frames", 3), "spherical.gif"),
        ("walk", ("--num", 3, "--frames", 3), "spherical.gif"),
        ("nearest", ("--num", 2), "nearest.png"),
    ):
        assert latent(tool, *args)[0] == 0
        assert (tmp_path / tool / file).exists()
    np.save(tmp_path / "wrong.npy", np.zeros(6))
    code, text = latent("interpolate", "--points", z[0], tmp_path / "wrong.npy")
    assert code == 2
    last = text.splitlines()[-1]
    assert last.startswith("error: ") and "wrong.npy: shape [6]" in last and "[5]" in last
    code, text = latent("sample", "--text", "blue hair red eyes")
    assert code == 2 and "trained without captions" in text
    code, text = latent("attribute")
    assert code == 2 and "train for longer" in text


def test_a_translator_has_no_noise_space(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        load_sampler(tmp_path / "absent")


@pytest.mark.usefixtures("quick_spawn")
def test_penalty_benchmark(faces: Path, tmp_path: Path, script: Script) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(tree_for(faces, PENALTY)))
    numbers = tmp_path / "numbers.json"
    done = script(
        *("benchmark", "--config", config, "--repeats", 1, "--json", numbers),
        *("--against", "model.constraint=clip", "--fast", "channels_last=true"),
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(numbers.read_text())
    assert report["seconds_per_step"].keys() == {"config", "against"}
    assert report["ratio"] > 0


def test_coverage_command(tmp_path: Path, script: Script) -> None:
    command = (
        *("coverage", "--output", tmp_path, "--gaussians", 1, "--faces", 1),
        *("--num-train", 64, "--num-samples", 64),
    )
    done = script(*command)
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "coverage.json").read_text())
    objectives = {"vanilla", "lsgan", "wgan", "wgan-gp"}
    assert tables["25 Gaussians"].keys() == objectives
    assert tables["Procedural faces"].keys() == objectives | {"other true faces"}
    assert tables["Procedural faces"]["wgan-gp"]["batches"] == 5
    assert (tmp_path / "coverage.png").exists()
    assert script(*command).returncode == 0, "called again it goes on where it was"
