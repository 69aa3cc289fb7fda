"""Evaluation on a schedule, and by the script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.checkpoints import store
from core.errors import UserError
from core.evaluation.model import Evaluator
from scripts import evaluate, export
from tests.runs import Tree, changed, differences, make_trainer, small_tree


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))


def train(tree: Tree, run_dir: Path) -> Tree:
    assert make_trainer(tree, run_dir).train()
    return store.load(store.find(run_dir)[0])


def log_lines(run_dir: Path) -> list[Tree]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


def test_on_a_schedule_and_the_training_does_not_notice(unpaired: Path, tmp_path: Path) -> None:
    plain = changed(small_tree("cyclegan", unpaired), model={"dropout": True})
    plain = changed(plain, train={"ema_decay": 0.5})
    measured = changed(plain, evaluate={"every": 3, "max_images": 2})
    one, two = train(plain, tmp_path / "plain"), train(measured, tmp_path / "measured")
    assert one["step"] == 8
    assert [d for d in differences(one, two) if not d.startswith("/config/evaluate")] == []
    lines = [line for line in log_lines(tmp_path / "measured") if "measures" in line]
    assert [line["step"] for line in lines] == [3, 6, 8]
    names = {"test_edge_correlation_AtoB", "test_color_inversion_BtoA"}
    assert all(names <= line["measures"].keys() for line in lines)
    notes = [line["note"] for line in log_lines(tmp_path / "measured") if "note" in line]
    assert len(notes) == 1 and "fid and kid not measured" in notes[0], "said once"


def test_what_is_missing_is_said_at_the_start(unpaired: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for folder in ("trainA", "trainB"):
        (root / folder).symlink_to(unpaired / folder)
    tree = changed(small_tree("cyclegan", root), evaluate={"every": 100})
    with pytest.raises(UserError, match="split 'test'"):
        make_trainer(tree, tmp_path / "run")


def test_trouble_in_an_evaluation_does_not_end_the_training(
    unpaired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Evaluator, part: int, parts: int) -> None:
        raise UserError("testA/0.png: damaged")

    monkeypatch.setattr(Evaluator, "share", broken)
    tree = changed(small_tree("cyclegan", unpaired), evaluate={"every": 8})
    train(tree, tmp_path)
    alarms = [line["alarm"] for line in log_lines(tmp_path) if "alarm" in line]
    assert alarms == ["not evaluated: testA/0.png: damaged"]


def test_script(unpaired: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    train(small_tree("cyclegan", unpaired), run)
    assert evaluate.main(["--checkpoint", str(run), "--max-images", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    file, _ = store.find(run)
    record = json.loads(file.with_suffix(".evaluation.json").read_text())
    assert record["checkpoint"] == str(file) and record["data"] == str(unpaired)
    assert record["options"]["max_images"] == 2
    value = record["directions"]["BtoA"]["measures"]["edge_correlation"]["value"]
    assert f"{value:.4f}" in printed and "BtoA, 2 images" in printed
    assert store.find(run)[0] == file, "the record is not taken for a checkpoint"
    for option, value, text in (
        ("--data", str(tmp_path / "none"), "none"),
        ("--kid-subset-size", "1", "--kid-subset-size 1: at least 2"),
        ("--weights", str(tmp_path / "none"), "no such folder"),
    ):
        assert evaluate.main(["--checkpoint", str(run), option, value]) == 2
        assert text in capsys.readouterr().err


def test_export_script(unpaired: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="pip install -e '.[export]'")
    run = tmp_path / "run"
    train(small_tree("cyclegan", unpaired), run)
    arguments = ["--checkpoint", str(run), "--output", str(tmp_path)]
    assert export.main([*arguments, "--direction", "BtoA"]) == 0
    assert (tmp_path / "cyclegan_small_BtoA.onnx").is_file()
    assert "differs from ours by" in capsys.readouterr().out
