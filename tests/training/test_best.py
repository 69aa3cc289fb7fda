"""The best checkpoint, the end of a training that gets no better, and which checkpoint is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.checkpoints import store
from core.checkpoints.which import choose
from core.errors import UserError
from core.training.evaluation import ScheduledEvaluation
from tests.processes import Script
from tests.runs import Tree, changed, differences, make_trainer, small_tree

SCORES = {1: 10.0, 2: 12.0, 3: 11.0, 4: 12.0, 5: 13.0, 6: 9.0, 7: 8.0, 8: 7.0}


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations with known values of a measure whose higher value is better."""

    def measure(self: ScheduledEvaluation, step: int, log: object) -> dict[str, float]:
        return {"color_inversion_AtoB": SCORES.get(step, 0.0)}

    monkeypatch.setattr(ScheduledEvaluation, "measure", measure)


@pytest.fixture
def tree(unpaired: Path) -> Tree:
    """Eight steps in two epochs, each measured."""
    return changed(
        small_tree("cyclegan", unpaired),
        evaluate={"every": 1},
        checkpoint={"every": 3, "keep_last": 1, "best": "color_inversion_AtoB"},
    )


def steps(run: Path) -> list[int]:
    return [store.step_of(path) for path in store.listed(run / "checkpoints")]


def test_the_best_is_kept_and_survives_going_back(tree: Tree, tmp_path: Path) -> None:
    run = tmp_path / "run"
    several = changed(tree, checkpoint={"keep_last": 2})
    assert make_trainer(several, run).train()
    # 5 is the best, 6 and 8 are the last two.
    assert steps(run) == [8, 6, 5]
    unbroken = store.load(store.find(run)[0])
    assert unbroken["best"]["history"] == [[1, 10.0], [2, 12.0], [5, 13.0]]
    assert choose(run, "best") == store.step_path(run / "checkpoints", 5)
    # Resumed from the best one: the same again, to the bit.
    make_trainer(several, run, store.load(choose(run, "best"))).train()
    assert steps(run) == [8, 6, 5]
    assert differences(unbroken, store.load(store.find(run)[0])) == []


def test_an_evaluation_that_a_kill_prevented_is_made_up_for(tree: Tree, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = make_trainer(changed(tree, train={"num_epochs_decay": 0}), run)
    trainer._evaluate = lambda: None  # type: ignore[method-assign]
    trainer.train()
    assert make_trainer(changed(tree, train={"num_epochs_decay": 0}), run, state(run)).train()
    assert state(run)["best"]["history"] == [[4, 12.0]]


def state(run: Path) -> Tree:
    return store.load(store.find(run)[0])


def test_a_training_that_gets_no_better_ends(tree: Tree, tmp_path: Path, script: Script) -> None:
    config, run = tmp_path / "small.yaml", tmp_path / "run"
    config.write_text(json.dumps(changed(tree, train={"stop_after": 2})))
    for _ in range(2):  # asked for again it does nothing
        words = ("--config", config, "--run-dir", run, "--device", "cpu", "--resume", "auto")
        done = script("train", *words)
        assert done.returncode == 0, done.stderr
        assert "finished at step 4" in done.stdout
        assert "best color_inversion_AtoB: 12 at step 2" in done.stdout
    go_on = ("--resume", run, "--device", "cpu", "--set", "train.stop_after=4")
    assert "finished at step 8" in script("train", *go_on).stdout


def test_epochs_are_kept_and_found(tree: Tree, tmp_path: Path) -> None:
    run = tmp_path / "run"
    part: Tree = {"every": 3, "keep_every_epochs": 1, "best": None}
    make_trainer(changed(tree, checkpoint=part, train={"num_epochs": 2}), run).train()
    assert steps(run) == [12, 8, 4]
    assert choose(run, "epoch:2") == store.step_path(run / "checkpoints", 8) == choose(run, "8")
    assert choose(run, "last") == run
    for which, said in (
        ("epoch:9", "no checkpoint of step 36; has: 4, 8, 12"),
        ("5", "has: 4, 8, 12"),
        ("best", "checkpoint.best"),
        ("newest", "expected best, last, a step or epoch:N"),
    ):
        with pytest.raises(UserError, match=said):
            choose(run, which)
    with pytest.raises(UserError, match="no run folder"):
        choose(store.step_path(run / "checkpoints", 8), "best")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": {"best": "psnr_AtoB"}}, "psnr_AtoB is not measured.*edge_correlation_AtoB"),
        ({"checkpoint": {"best": "beauty"}}, "beauty is not measured"),
        ({"evaluate": {"every": 0}}, "nothing is measured while training"),
        ({"checkpoint": {"best": None}, "train": {"stop_after": 1}}, "needs checkpoint.best"),
    ],
)
def test_what_is_not_measured_is_refused(
    change: Tree, said: str, tree: Tree, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        make_trainer(changed(tree, **change), tmp_path / "run")


def test_scripts_take_the_checkpoint_that_is_meant(
    tree: Tree, tmp_path: Path, script: Script
) -> None:
    run = tmp_path / "run"
    make_trainer(tree, run).train()
    words = ("--checkpoint", run, "--which", "best", "--device", "cpu")
    data = Path(tree["data"]["root"])
    done = script("test", *words, "--input", data / "testA", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "step 5" in (tmp_path / "out" / "index.html").read_text()
    done = script("evaluate", *words, "--output", tmp_path / "out.json", "--max-images", 1)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["checkpoint"].endswith("00000005.pt")
