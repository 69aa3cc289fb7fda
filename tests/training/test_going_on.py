"""What a user does in the second hour: go back, change an option, lose a file, start twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints import store
from core.errors import UserError
from core.training.launch import find_start
from core.training.optimizers import load_moments
from core.training.trainer import Trainer
from families import FAMILIES
from tests.training.conftest import (
    Tree,
    changed,
    differences,
    environment,
    make_trainer,
    small_tree,
)


def steps(run: Path) -> list[int]:
    return [int(path.stem[5:]) for path in store.listed(run / "checkpoints")]


@pytest.fixture
def tree(unpaired: Path) -> Tree:
    return changed(small_tree("cyclegan", unpaired), checkpoint={"every": 2, "keep_last": 2})


def go_on(tree: Tree, run: Path, file: Path) -> Trainer:
    trainer = make_trainer(tree, run, store.load(file))
    trainer.train()
    return trainer


def test_going_back_sets_later_checkpoints_aside(tree: Tree, tmp_path: Path) -> None:
    """New checkpoints are kept, the abandoned ones not counted, and the end is the unbroken one."""
    every = changed(tree, checkpoint={"keep_last": 9})
    make_trainer(every, tmp_path).train()
    unbroken = store.load(store.find(tmp_path)[0])
    assert steps(tmp_path) == [8, 6, 4, 2]
    go_on(tree, tmp_path, store.step_path(tmp_path / "checkpoints", 4))
    assert steps(tmp_path) == [8, 6]
    resumed = store.load(store.find(tmp_path)[0])
    resumed["config"] = unbroken["config"]
    assert differences(unbroken, resumed) == []
    abandoned = sorted(path.name for path in (tmp_path / "checkpoints/abandoned").iterdir())
    assert abandoned == ["step_00000006.pt", "step_00000008.pt"]
    assert "set aside" in (tmp_path / "log.jsonl").read_text()


def rates(trainer: Trainer) -> dict[str, float]:
    return {n: o.param_groups[0]["lr"] for n, o in trainer.family.optimizers.items()}


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        ({"optim": {"lr": 1e-3}, "train": {"num_epochs_decay": 3}}, 1e-3 / 2),
        ({"train": {"num_epochs_decay": 3}}, 2e-4 / 2),
        ({"optim": {"policy": "step", "decay_every": 1, "decay_factor": 0.5}}, 2e-4 / 4),
    ],
)
def test_a_changed_rate_takes_effect(change: Tree, rate: float, tree: Tree, tmp_path: Path) -> None:
    """At the value that the schedule gives for the position: step 4 of 8 ends the first epoch."""
    make_trainer(tree, tmp_path).train()
    trainer = make_trainer(changed(tree, **change), tmp_path / "b", mid_state(tree, tmp_path / "c"))
    trainer._advance_schedule()
    assert rates(trainer) == pytest.approx(dict.fromkeys(rates(trainer), rate))


def mid_state(tree: Tree, run: Path) -> Tree:
    """State after the first of two epochs, as a checkpoint holds it."""
    make_trainer(changed(tree, checkpoint={"every": 4, "keep_last": 9}), run).train()
    return store.load(store.step_path(run / "checkpoints", 4))


def test_other_optimizer_options_take_effect(tree: Tree, tmp_path: Path) -> None:
    state = mid_state(tree, tmp_path / "a")
    change: Tree = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.01}
    trainer = make_trainer(changed(tree, optim=change), tmp_path / "b", state)
    for optimizer in trainer.family.optimizers.values():
        (group,) = optimizer.param_groups
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.99), 1e-6, 0.01)
        assert all(moments["step"] == 4 for moments in optimizer.state.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"seed": 5}}, r"train\.seed = 0, now 5"),
        ({"data": {"direction": "BtoA"}}, r"data\.direction"),
        ({"train": {"num_epochs": 0, "num_epochs_decay": 0, "num_steps": 3}}, "step 4.* 3 steps"),
    ],
)
def test_what_cannot_take_effect_is_refused(
    change: Tree, said: str, tree: Tree, tmp_path: Path
) -> None:
    state = mid_state(tree, tmp_path / "a")
    with pytest.raises(UserError, match=said):
        make_trainer(changed(tree, **change), tmp_path / "b", state)


def test_a_switched_memory_format_resumes_to_rounding(tree: Tree, tmp_path: Path) -> None:
    """Fused Adam on a CPU would pair moments of other strides with the wrong weights, silently."""
    last = {"train": {"channels_last": True}}
    state = mid_state(tree, tmp_path / "a")
    ends = []
    for name, options in (("same", {}), ("switched", last)):
        trainer = make_trainer(changed(tree, **options), tmp_path / name, state)
        for optimizer in trainer.family.optimizers.values():
            for parameter, moments in optimizer.state.items():
                assert moments["exp_avg"].stride() == parameter.stride()
        trainer.train()
        ends.append(trainer.family.networks["G_A"].state_dict())
    before = state["networks"]["G_A"]
    for key, value in ends[0].items():
        moved, apart = (value - before[key]).norm(), (value - ends[1][key]).norm()
        assert apart <= 0.02 * moved + 1e-12, key


def test_gradients_keep_the_strides_of_their_parameters(tree: Tree, tmp_path: Path) -> None:
    trainer = make_trainer(changed(tree, train={"channels_last": True}), tmp_path)
    trainer.train()
    for network in trainer.family.networks.values():
        for parameter in network.parameters():
            assert parameter.grad is None or parameter.grad.stride() == parameter.stride()


def test_moments_take_the_strides_of_parameters() -> None:
    weight = torch.nn.Parameter(
        torch.rand(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    )
    optimizer = torch.optim.Adam([weight], fused=True)
    other = torch.optim.Adam([torch.nn.Parameter(weight.detach().contiguous())], lr=0.5)
    (other.param_groups[0]["params"][0]).grad = torch.rand(4, 3, 3, 3)
    other.step()
    load_moments(optimizer, other.state_dict())
    loaded, saved = optimizer.state[weight], next(iter(other.state.values()))
    assert loaded["exp_avg"].stride() == weight.stride()
    assert torch.equal(loaded["exp_avg"], saved["exp_avg"])
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_averages_switched_on_begin_from_the_loaded_weights(tree: Tree, tmp_path: Path) -> None:
    state = mid_state(tree, tmp_path / "a")
    trainer = make_trainer(changed(tree, train={"ema_decay": 0.99}), tmp_path / "b", state)
    for name, average in trainer.ema.state_dict().items():
        for key, value in average.items():
            assert torch.equal(value, state["networks"][name][key])


def test_plateau_follows_the_mean_objective_of_the_epoch(tree: Tree, tmp_path: Path) -> None:
    """Cut after six epochs that are no better; also where the length is counted in steps."""
    long = changed(
        tree,
        optim={"policy": "plateau"},
        train={"num_epochs": 9, "num_epochs_decay": 0},
        checkpoint={"every": 100},
    )
    for part in ({}, {"num_steps": 36}):
        trainer = make_trainer(changed(long, train=part), tmp_path / str(len(part)))
        inner, seen = trainer.family.training_step, []

        def constant(*args: Any) -> Any:
            seen.append(rates(trainer)["G"])  # noqa: B023
            return inner(*args) | {"G": torch.tensor(1.0)}  # noqa: B023

        trainer.family.training_step = constant  # type: ignore[method-assign]
        trainer.train()
        # Epoch 1 sets the mark; 2 to 7 are no better; the cut holds from epoch 8 on.
        assert seen == pytest.approx([2e-4] * 28 + [4e-5] * 8)


def test_options_of_a_run_change_without_its_config(tree: Tree, tmp_path: Path) -> None:
    make_trainer(tree, tmp_path / "run").train()
    start = find_start(
        FAMILIES, config=None, resume=str(tmp_path / "run"), overrides=["optim.lr=0.001"]
    )
    assert start.config.optim.lr == 0.001
    assert start.run_dir == tmp_path / "run"
    with pytest.raises(UserError, match=r"optim\.lrr: unknown key; did you mean `lr`"):
        find_start(FAMILIES, config=None, resume=str(tmp_path / "run"), overrides=["optim.lrr=1"])


def test_resume_auto_begins_goes_on_and_ends(tree: Tree, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(json.dumps(tree))
    asked: Tree = {"config": config, "run_dir": tmp_path / "run", "resume": "auto"}
    assert find_start(FAMILIES, **asked).state is None
    make_trainer(tree, tmp_path / "run").train()
    start = find_start(FAMILIES, **asked)
    assert start.state is not None and start.state["step"] == 8
    before = store.find(tmp_path / "run")[0].stat().st_mtime_ns
    assert Trainer(start.kind, start.config, start.run_dir, resume=start.state).train()
    assert store.find(tmp_path / "run")[0].stat().st_mtime_ns == before


def test_options_unknown_to_this_version_are_named(tree: Tree, tmp_path: Path) -> None:
    make_trainer(tree, tmp_path / "run").train()
    file = store.find(tmp_path / "run")[0]
    state = store.load(file)
    state["config"]["train"]["from_the_future"] = 1
    store.save(state, file)
    with pytest.raises(UserError, match=r"version .*train\.from_the_future: unknown key"):
        find_start(FAMILIES, config=None, resume=str(file))


def test_an_unreadable_image_loses_no_step(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(changed(tree, checkpoint={"every": 100}), tmp_path)
    following = trainer.loader.__class__.__next__

    def breaks(loader: Any) -> Any:
        if trainer.step == 3:
            raise UserError("trainA/3.png: truncated")
        return following(loader)

    monkeypatch.setattr(trainer.loader.__class__, "__next__", breaks)
    with pytest.raises(UserError, match="truncated"):
        trainer.train()
    assert steps(tmp_path) == [3]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "num_workers"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "batch_size"),
        (MemoryError(), "out of memory"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, said: str, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tree, tmp_path)

    def fails(_loader: Any) -> None:
        raise error

    monkeypatch.setattr(trainer.loader.__class__, "__next__", fails)
    with pytest.raises(UserError, match=said):
        trainer.train()
    assert steps(tmp_path) == [0]


def test_a_run_folder_has_one_training(tree: Tree, tmp_path: Path) -> None:
    """Another process is refused; one that died lets go."""
    trainer = make_trainer(tree, tmp_path)
    program = """
import sys
from pathlib import Path
from core.errors import UserError
from core.runtime.distributed import World
from core.training.run_lock import RunLock
try:
    RunLock(Path(sys.argv[1]), World())
except UserError as error:
    raise SystemExit(str(error))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    run: Callable[[], Any] = lambda: subprocess.run(  # noqa: E731
        command, env=environment(), capture_output=True, text=True
    )
    assert "another training" in run().stderr
    trainer.train()
    assert run().returncode == 0
    assert run().returncode == 0


def test_sizes_are_checked_before_anything_is_drawn(unpaired: Path, tmp_path: Path) -> None:
    tree = changed(
        small_tree("cyclegan", unpaired),
        data={"preprocess": "none", "crop_size": 32},
        log={"samples_every": 1},
    )
    tree["model"] = {**tree["model"], "generator": "unet_128"}
    with pytest.raises(UserError, match="need 128 px"):
        make_trainer(tree, tmp_path)
    assert not (tmp_path / "samples").exists()
