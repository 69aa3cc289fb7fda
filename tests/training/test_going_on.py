"""What a user does in the second hour: go back, change an option, lose a file, start twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints import store
from core.errors import UserError
from core.runtime.distributed import World
from core.training.launch import find_start
from core.training.optimizers import load_moments
from core.training.run_lock import RunLock
from core.training.trainer import Trainer
from families import FAMILIES
from tests.processes import call_elsewhere
from tests.runs import Tree, changed, differences, make_trainer, small_tree


def steps(run: Path) -> list[int]:
    return [int(path.stem[5:]) for path in store.listed(run / "checkpoints")]


@pytest.fixture(scope="module")
def tree(unpaired: Path) -> Tree:
    return changed(small_tree("cyclegan", unpaired), checkpoint={"every": 2, "keep_last": 2})


@pytest.fixture(scope="module")
def finished(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs of four steps with all its checkpoints, to copy from."""
    run = tmp_path_factory.mktemp("finished")
    make_trainer(changed(tree, checkpoint={"keep_last": 9}), run).train()
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def mid_state(finished: Path) -> Tree:
    """State after the first of two epochs, as a checkpoint holds it."""
    return store.load(store.step_path(finished / "checkpoints", 4))


def go_on(tree: Tree, run: Path, file: Path) -> Trainer:
    trainer = make_trainer(tree, run, store.load(file))
    trainer.train()
    return trainer


def test_going_back_sets_later_checkpoints_aside(tree: Tree, run: Path) -> None:
    """New checkpoints are kept, the abandoned ones not counted, and the end is the unbroken one."""
    unbroken = store.load(store.find(run)[0])
    assert steps(run) == [8, 6, 4, 2]
    go_on(tree, run, store.step_path(run / "checkpoints", 4))
    assert steps(run) == [8, 6]
    resumed = store.load(store.find(run)[0])
    resumed["config"] = unbroken["config"]
    assert differences(unbroken, resumed) == []
    abandoned = sorted(path.name for path in (run / "checkpoints/abandoned").iterdir())
    assert abandoned == ["step_00000006.pt", "step_00000008.pt"]
    assert "set aside" in (run / "log.jsonl").read_text()


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
def test_a_changed_rate_takes_effect(
    change: Tree, rate: float, tree: Tree, mid_state: Tree, tmp_path: Path
) -> None:
    """At the value that the schedule gives for the position: step 4 of 8 ends the first epoch."""
    trainer = make_trainer(changed(tree, **change), tmp_path, mid_state)
    trainer._advance_schedule()
    assert rates(trainer) == pytest.approx(dict.fromkeys(rates(trainer), rate))


def test_other_optimizer_options_take_effect(tree: Tree, mid_state: Tree, tmp_path: Path) -> None:
    change: Tree = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.01}
    trainer = make_trainer(changed(tree, optim=change), tmp_path, mid_state)
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
    change: Tree, said: str, tree: Tree, mid_state: Tree, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        make_trainer(changed(tree, **change), tmp_path, mid_state)


def test_a_switched_memory_format_resumes_to_rounding(
    tree: Tree, mid_state: Tree, tmp_path: Path
) -> None:
    """Fused Adam on a CPU would pair moments of other strides with the wrong weights, silently."""
    last = {"train": {"channels_last": True}}
    ends = []
    for name, options in (("same", {}), ("switched", last)):
        trainer = make_trainer(changed(tree, **options), tmp_path / name, mid_state)
        for optimizer in trainer.family.optimizers.values():
            for parameter, moments in optimizer.state.items():
                assert moments["exp_avg"].stride() == parameter.stride()
        trainer.train()
        ends.append(trainer.family.networks["G_A"].state_dict())
    before = mid_state["networks"]["G_A"]
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


def test_averages_switched_on_begin_from_the_loaded_weights(
    tree: Tree, mid_state: Tree, tmp_path: Path
) -> None:
    trainer = make_trainer(changed(tree, train={"ema_decay": 0.99}), tmp_path, mid_state)
    for name, average in trainer.ema.state_dict().items():
        for key, value in average.items():
            assert torch.equal(value, mid_state["networks"][name][key])


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
        seen: list[float] = []

        def constant(*args: Any) -> Any:
            seen.append(rates(trainer)["G"])  # noqa: B023
            return {"G": torch.tensor(1.0)}

        trainer.family.training_step = constant  # type: ignore[method-assign]
        trainer.train()
        # Epoch 1 sets the mark; 2 to 7 are no better; the cut holds from epoch 8 on.
        assert seen == pytest.approx([2e-4] * 28 + [4e-5] * 8)


def test_options_of_a_run_change_without_its_config(run: Path) -> None:
    start = find_start(FAMILIES, config=None, resume=str(run), overrides=["optim.lr=0.001"])
    assert start.config.optim.lr == 0.001
    assert start.run_dir == run
    with pytest.raises(UserError, match=r"optim\.lrr: unknown key; did you mean `lr`"):
        find_start(FAMILIES, config=None, resume=str(run), overrides=["optim.lrr=1"])


def test_resume_auto_begins_goes_on_and_ends(tree: Tree, run: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(json.dumps(tree))
    asked: Tree = {"config": config, "resume": "auto"}
    assert find_start(FAMILIES, run_dir=tmp_path / "new", **asked).state is None
    start = find_start(FAMILIES, run_dir=run, **asked)
    assert start.state is not None and start.state["step"] == 8
    before = store.find(run)[0].stat().st_mtime_ns
    assert Trainer(start.kind, start.config, start.run_dir, resume=start.state).train()
    assert store.find(run)[0].stat().st_mtime_ns == before


def test_options_unknown_to_this_version_are_named(run: Path) -> None:
    file = store.find(run)[0]
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


def take_lock(run: Path) -> str:
    """Take a run's lock and keep it to the end of the process; returns why that was refused."""
    try:
        KEPT.append(RunLock(run, World()))
    except UserError as error:
        return str(error)
    return ""


KEPT: list[RunLock] = []


def test_a_run_folder_has_one_training(tree: Tree, tmp_path: Path) -> None:
    """Another process is refused; one that died lets go."""
    trainer = make_trainer(tree, tmp_path)
    assert "another training" in call_elsewhere(take_lock, tmp_path)
    trainer.train()
    for _ in range(2):
        assert call_elsewhere(take_lock, tmp_path) == ""


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
