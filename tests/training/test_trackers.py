"""Trackers: what they get, in offline modes, through NaN, steps that go back, and failures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from core.config import validate
from core.errors import UserError
from core.training.run_log import RunLog
from core.training.trackers import _KINDS, Piece
from cyclegan.config import Config
from tests.processes import Script
from tests.runs import changed, make_trainer, small_tree

PICTURE = Image.new("RGB", (6, 4), (255, 0, 0))


def config(*trackers: str) -> Config:
    tree = {"name": "cyclegan/small", "data": {"root": "x"}, "log": {"trackers": list(trackers)}}
    return validate(Config, tree)


def write(log: RunLog, steps: range) -> None:
    for step in steps:
        values = {"G": math.nan if step == 2 else float(step), "D": math.inf}
        log.scalars(step, values, {"lr": 0.1})
    log.measures(steps[-1], {"psnr_AtoB": 20.0})
    log.picture(steps[-1], "samples", PICTURE)
    log.flush()
    log.close()


def twice(run_dir: Path, name: str) -> None:
    """A run of six steps that goes back to 3, with another end, and is then resumed at its end."""
    for step, steps in ((0, range(1, 7)), (3, range(4, 6)), (5, range(6, 8))):
        write(RunLog(run_dir, step, config(name)), steps)


def test_tensorboard_has_one_branch(tmp_path: Path) -> None:
    twice(tmp_path, "tensorboard")
    board = EventAccumulator(str(tmp_path / "tensorboard"), {"scalars": 0, "images": 0}).Reload()
    assert [event.step for event in board.Scalars("loss/G")] == [1, 2, 3, 4, 5, 6, 7]
    assert math.isnan(board.Scalars("loss/G")[1].value)
    assert [event.step for event in board.Scalars("measure/psnr_AtoB")] == [5, 7]
    assert [event.step for event in board.Images("samples")] == [5, 7]
    (text,) = board.Tensors("config/text_summary")
    assert b"resnet_9blocks" in text.tensor_proto.string_val[0]


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="pip install -e '.[trackio]'")
    from trackio.sqlite_storage import SQLiteStorage

    twice(tmp_path, "trackio")
    runs = sorted(SQLiteStorage.get_runs("image-translation"), key=lambda run: len(str(run)))
    names = [run if isinstance(run, str) else run["name"] for run in runs]
    assert [name[:-5] for name in names] == ["cyclegan/small", "cyclegan/small from step 3"]
    steps = [
        [e["step"] for e in SQLiteStorage.get_logs("image-translation", name) if "loss/G" in e]
        for name in names
    ]
    assert steps == [[1, 2, 3, 4, 5, 6], [4, 5, 6, 7]]


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    twice(tmp_path, "wandb")
    kept = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert len(kept) == 3
    ids = [name.split("-")[3] for name in kept]  # of two in one second the other ends in -1
    assert len(set(ids)) == 2 and json.loads((tmp_path / "trackers.json").read_text()) == {
        "wandb": [ids[-1] if ids[-1] == ids[-2] else ids[0], 7]
    }


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    twice(tmp_path, "mlflow")
    client = mlflow.MlflowClient((tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("cyclegan/small")
    runs = client.search_runs([experiment.experiment_id])
    found = {
        run.info.run_name: [m.step for m in client.get_metric_history(run.info.run_id, "loss/G")]
        for run in runs
    }
    assert found == {
        "cyclegan/small": [1, 2, 3, 4, 5, 6],
        "cyclegan/small from step 3": [4, 5, 6, 7],
    }
    files = {file.path for file in client.list_artifacts(runs[0].info.run_id)}
    assert files == {"config.json", "samples"}


class Fake:
    """A tracker that notes what it gets, and fails when told to."""

    made: ClassVar[list[Fake]] = []

    def __init__(self, piece: Piece) -> None:
        self.piece, self.id = piece, piece.id or f"new at {piece.step}"
        self.got: list[Any] = []
        self.made.append(self)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if step == 5:
            raise ConnectionError("no network\nat all")
        self.got.append((step, values))

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        self.got.append((step, tag, image.mode))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.got.append("closed")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fake]]:
    """`wandb` is a `Fake`, and there."""
    monkeypatch.setitem(_KINDS, "wandb", Fake)
    module = ModuleType("wandb")
    module.__spec__ = Any  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "wandb", module)
    Fake.made = []
    yield Fake.made


def test_one_that_fails_warns_once_and_the_training_goes_on(
    fake: list[Fake], unpaired: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = changed(
        small_tree("cyclegan", unpaired),
        train={"num_steps": 7, "batch_size": 1},
        log={"every": 1, "samples_every": 4, "trackers": ["wandb", "tensorboard"]},
    )
    assert make_trainer(tree, tmp_path).train()
    (tracker,) = fake
    assert [e[0] for e in tracker.got] == [0, 1, 2, 3, 4, 4] and tracker.got[0][1:] == (
        "samples",
        "RGB",
    )
    assert {"loss/G", "progress/lr"} <= tracker.got[1][1].keys()
    line = "notice: step 5: wandb is left out from here on: ConnectionError: no network\n"
    assert capsys.readouterr().out.count("left out") == 1 and line in _log(tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss/G")] == [1, 2, 3, 4, 5, 6, 7]


def _log(run_dir: Path) -> str:
    lines = map(json.loads, (run_dir / "log.jsonl").read_text().splitlines())
    return "".join(f"notice: step {e['step']}: {e['notice']}\n" for e in lines if "notice" in e)


def test_a_piece_goes_on_unless_the_run_goes_back(fake: list[Fake], tmp_path: Path) -> None:
    for step, steps in ((0, range(1, 4)), (3, range(4, 5)), (2, range(3, 5)), (4, range(6, 8))):
        write(RunLog(tmp_path, step, config("wandb")), steps)
    assert [each.id for each in fake] == ["new at 0", "new at 0", "new at 2", "new at 2"]
    titles = [each.piece.title for each in fake]
    assert titles == [
        "cyclegan/small",
        "cyclegan/small",
        "cyclegan/small from step 2",
        "cyclegan/small",
    ]
    for text in ("", "[]", '{"wandb": 3}', '{"wandb": ["a", null]}'):
        (tmp_path / "trackers.json").write_text(text)
        write(RunLog(tmp_path, 7, config("wandb")), range(8, 9))
        assert fake[-1].id == "new at 7"


def test_refused_before_the_training(
    unpaired: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run_dir = tmp_path / "c.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(small_tree("cyclegan", unpaired)))
    arguments = ("train", "--config", path, "--run-dir", run_dir)
    done = script(*arguments, "--set", "log.trackers=[comet]")
    assert done.returncode == 2 and "'tensorboard', 'trackio', 'wandb' or 'mlflow'" in done.stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    done = script(*arguments, "--set", "log.trackers=[tensorboard, mlflow]")
    assert done.returncode == 2 and done.stderr == (
        "error: log.trackers: mlflow is not installed: pip install -e '.[mlflow]'\n"
    )
    assert not run_dir.exists()


def test_one_that_cannot_begin_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no(_piece: Piece) -> Any:
        raise PermissionError("log in first\nor else")

    monkeypatch.setitem(_KINDS, "wandb", no)
    with pytest.raises(UserError, match=r"wandb cannot begin: PermissionError: log in first$"):
        RunLog(tmp_path, 0, config("wandb"))
