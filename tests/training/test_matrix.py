"""Every way to break off a run, with every option that may change when it goes on.

Bit-identical to the unbroken run where nothing changed; as the option says where something did.
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from core.checkpoints import store
from core.errors import UserError
from core.runtime.distributed import World
from core.training.launch import find_start
from core.training.trainer import Trainer
from families import FAMILIES
from tests.processes import SERVER
from tests.runs import VAE, Tree, changed, differences, make_trainer, small_tree, train_until_signal

BROKEN_OFF, LAST = 2, 4
DIFFAUG = ["color", "translation", "cutout"]
MODELS: dict[str, Tree] = {
    "cyclegan": {"pool_size": 2, "num_layers_dis": 1},
    "munit": {"dis": VAE["dis"] | {"norm": "sn", "num_scales": 1}},
    "drit": {"encode_all": True, "d_iter": 1},
    "wgan": {"norm_gen": "none", "nz": 5, "ngf": 2, "ndf": 2, "num_critic": 2, "diffaug": DIFFAUG},
}
FIRST = {"cyclegan": "G_A", "munit": "dis_a", "drit": "disA", "wgan": "D"}
"""A network that the first update of a step changes."""
AVERAGED = {"cyclegan": "G_A", "munit": "gen_a", "drit": "gen", "wgan": "G"}
CHANGES: dict[str, dict[str, Tree]] = {
    "nothing": {},
    "lr": {"optim": {"lr": 2e-3}},
    "ema": {"train": {"ema_decay": 0.9}},
    "memory_format": {"train": {"speed": "off"}},
    "precision": {"train": {"precision": "bf16"}},
    "accumulate": {"train": {"batch_size": 1, "accumulate": 2}},
    "workers": {"data": {"num_workers": 1}},
    "processes": {"train": {"batch_size": 1}},
}


@dataclass(frozen=True)
class Broken:
    """A family's unbroken run, and its three ways to be broken off after step 2."""

    tree: Tree
    runs: dict[str, Path]
    files: dict[str, Path]
    """What each is resumed from."""
    states: dict[int, Tree]
    """Of the unbroken run, by step."""


def options(family: str, unpaired: Path) -> Tree:
    if family == "wgan":
        data = {"root": str(unpaired / "trainA"), "load_size": 16, "crop_size": 16}
        tree: Tree = {"family": "wgan", "data": data | {"num_workers": 0}}
        tree["log"] = {"samples_every_epochs": 0, "num_samples": 2}
    else:
        tree = small_tree(family, unpaired)
        if family != "drit":  # whose discriminators need 44 px
            tree = changed(tree, data={"load_size": 20, "crop_size": 16})
    return changed(
        tree,
        model=MODELS[family],
        train={"num_steps": LAST, "batch_size": 2},
        # Adam's usual eps turns rounding noise of vanishing gradients into steps of up to lr.
        optim={"policy": "constant", "lr": 1e-3, "eps": 0.01},
        checkpoint={"every": 1, "keep_last": 9},
    )


def train_and_be_killed(tree: Tree, run: Path) -> None:
    """Kill -9 in the middle of the step after `BROKEN_OFF`."""
    torch.set_num_threads(1)
    trainer = make_trainer(tree, run)
    inner = trainer.family.training_step

    def training_step(*args: object) -> object:
        terms = inner(*args)
        if trainer.step == BROKEN_OFF:
            os.kill(os.getpid(), signal.SIGKILL)
        return terms

    trainer.family.training_step = training_step  # type: ignore[method-assign]
    trainer.train()


@pytest.fixture(scope="module", params=MODELS)
def broken(
    request: pytest.FixtureRequest, unpaired: Path, tmp_path_factory: pytest.TempPathFactory
) -> Broken:
    torch.set_num_threads(1)  # as in every test: sums over another number have other bits
    folder = tmp_path_factory.mktemp(request.param)
    tree = options(request.param, unpaired)
    names = ("unbroken", "stop", "kill", "go_back")
    runs = {name: folder / name for name in names}
    killed = SERVER.Process(target=train_and_be_killed, args=(tree, runs["kill"]))
    killed.start()
    assert make_trainer(tree, runs["unbroken"]).train()
    train_until_signal(tree, runs["stop"], BROKEN_OFF)
    shutil.copytree(runs["unbroken"], runs["go_back"])
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    files = {name: runs[name] for name in ("stop", "kill")}
    files["go_back"] = store.step_path(runs["go_back"] / "checkpoints", BROKEN_OFF)
    states = {
        step: store.load(store.step_path(runs["unbroken"] / "checkpoints", step))
        for step in range(BROKEN_OFF, LAST + 1)
    }
    return Broken(tree, runs, files, states)


def weights(state: Tree, network: str) -> torch.Tensor:
    """All weights of a network in one vector, without the vectors of spectral norm."""
    found = state["networks"][network].items()
    return torch.cat([v.double().reshape(-1) for k, v in found if k[-2:] not in ("_u", "_v")])


def close(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor, share: float) -> bool:
    return bool((x - y).norm() <= share * scale.norm() + 1e-12)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", ["stop", "kill", "go_back"])
def test_going_on(way: str, change: str, broken: Broken, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(broken.runs[way], run)
    start = run / broken.files[way].relative_to(broken.runs[way])
    found = find_start(FAMILIES, config=None, resume=str(start))
    assert found.state is not None and found.state["step"] == BROKEN_OFF
    assert found.run_dir == run
    tree = changed(broken.tree, **CHANGES[change])
    if change == "processes":
        config = make_trainer(tree, tmp_path / "other").config
        with pytest.raises(UserError, match=r"written by 1 process\(es\), this run has 2"):
            Trainer(found.kind, config, run, World(0, 2), found.state)
        return
    end = LAST if change == "nothing" else BROKEN_OFF + 1
    assert make_trainer(changed(tree, train={"num_steps": end}), run, found.state).train()
    judge(broken, change, store.load(store.step_path(run / "checkpoints", end)))
    if way == "go_back":
        assert len(list((run / "checkpoints/abandoned").iterdir())) == LAST - BROKEN_OFF


def judge(broken: Broken, change: str, after: Tree) -> None:
    """What the option says of the steps since, beside those of the unbroken run."""
    unbroken, before = broken.states[after["step"]], broken.states[BROKEN_OFF]
    family = broken.tree["family"]
    if change in ("nothing", "workers", "ema"):
        apart = [d for d in differences(unbroken, after) if not d.startswith("/config")]
        assert all(d.startswith("/ema") for d in apart) and bool(apart) == (change == "ema"), apart
    if change == "ema":  # of the weights resumed from, moved towards the next ones
        name = AVERAGED[family]
        for key, average in after["ema"][name].items():
            old, new = before["networks"][name][key], unbroken["networks"][name][key]
            torch.testing.assert_close(average, torch.lerp(old, new, 1 - 0.9))
    elif change == "lr":  # twice the rate, with the moments and gradients of before
        one, two = (weights(state, FIRST[family]) for state in (unbroken, after))
        old = weights(before, FIRST[family])
        assert close(two - old, 2 * (one - old), one - old, 1e-3)
    elif change in ("memory_format", "accumulate", "precision"):
        # Rounding turns some signs of L1 terms; wrongly paired moments would be 0.7 apart or more.
        share = 0.9 if change == "precision" else 0.05
        for name in before["networks"]:
            one, two = weights(unbroken, name), weights(after, name)
            assert close(two, one, one - weights(before, name), share), name
        assert differences(unbroken["networks"], after["networks"]), "had no effect"
