"""Pieces of a comparison: processes, records of runs, style methods, tables."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from core.checkpoints import store
from core.compare import entries
from core.compare.comparison import _too_near
from core.compare.config import Entry
from core.compare.entries import Method, Training, prepare
from core.compare.style_method import StyleMethod
from core.compare.tables import csv_text, markdown_text, quality_table
from core.errors import UserError
from core.evaluation.image_set import evaluation_set
from core.evaluation.scores import Evaluation, Measure, Scores
from core.family import to_float
from core.options import DataOptions
from core.report.page import duration
from core.report.run_record import RunRecord, read_record
from core.runtime.processes import run_in_subprocess
from core.runtime.progress import peak_memory_bytes
from families import FAMILIES, STYLIZERS
from tests.compare.conftest import (
    compare_tree,
    in_this_process,
    load,
    make_images,
    run_tree,
    write_config,
)
from tests.compare.workers import stopped_from_outside
from tests.runs import differences, make_trainer

# -- a process of its own -------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_spawn")
def test_a_stop_reaches_the_process_and_is_waited_for(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(KeyboardInterrupt):
        run_in_subprocess(stopped_from_outside, str(mark), os.getpid())
    assert mark.read_text() == "SIGTERM"


@pytest.mark.usefixtures("quick_spawn")
def test_a_process_that_ends_without_an_answer() -> None:
    with pytest.raises(UserError, match="ended with code 3 and no answer"):
        run_in_subprocess(os._exit, 3)


def test_the_memory_of_a_process_is_its_own() -> None:
    held = bytearray(500_000_000)
    held[::4096] = b"x" * len(held[::4096])  # touched, so that it is resident
    device = torch.device("cpu")
    ours = peak_memory_bytes(device)
    assert ours > 500_000_000
    assert 50_000_000 < run_in_subprocess(peak_memory_bytes, device) < ours - 200_000_000


# -- runs -----------------------------------------------------------------------------------------


def test_pieces_of_a_run_add_up(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"step": 10, "losses": {"G": 1.0}, "elapsed_seconds": 5.0, "peak_memory_bytes": 9e8},
        {"step": 20, "losses": {"G": 2.0}, "elapsed_seconds": 9.0, "peak_memory_bytes": 9e8},
        {"step": 20, "measures": {"test_psnr_AtoB": 11.0}},
        {"step": 15, "losses": {"G": 3.0}, "elapsed_seconds": 8.0, "peak_memory_bytes": 5e8},
        {"step": 25, "losses": {"G": 4.0}, "elapsed_seconds": 12.0, "peak_memory_bytes": 6e8},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines), '{"step": 26, "lo']))
    record = read_record(path)
    assert record.seconds == {10: 5.0, 15: 8.0, 25: 12.0}
    assert record.peak_memory_bytes == 9e8, "the first piece held more, though it was overtaken"
    assert record.measures == {} and record.num_unreadable == 1
    assert record.seconds_at(20) == pytest.approx(10.0)
    assert (record.seconds_at(5), record.seconds_at(15), record.seconds_at(99)) == (None, 8.0, 12.0)
    record.forget(16)
    assert set(record.losses) == {10, 15}


def test_an_unfinished_training_goes_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "run_in_subprocess", in_this_process)
    root = make_images(tmp_path / "data")
    tree = run_tree("cyclegan", root, 4)
    path = write_config(tmp_path, tree, "gan")
    whole = tmp_path / "whole"
    assert make_trainer(tree, whole).train()
    assert make_trainer(tree, tmp_path / "run").train()
    store.step_path(tmp_path / "run" / "checkpoints", 4).unlink()
    entry = {"name": "GAN", "config": str(path), "run": str(tmp_path / "run")}
    config = load(write_config(tmp_path, compare_tree(root, [entry])))
    test_set = evaluation_set(root, (3, 3), DataOptions(root=str(root)))
    method = prepare(config.entries[0], config, test_set, FAMILIES, STYLIZERS, "cpu")
    assert method.problems == [] and method.training is not None
    assert method.training.steps == 4 and (method.training.seconds or 0) > 0
    one, two = (store.load(store.find(folder)[0]) for folder in (whole, tmp_path / "run"))
    assert differences(one, two) == []

    def refused(*_: Any) -> None:
        raise AssertionError("a finished run is not trained")

    monkeypatch.setattr(entries, "run_in_subprocess", refused)
    again = prepare(config.entries[0], config, test_set, FAMILIES, STYLIZERS, "cpu")
    assert again.translator is not None
    other = Entry(name="x", config=str(path), run=str(tmp_path / "run"), set=("train.num_steps=6",))
    with pytest.raises(AssertionError, match="not trained"):
        prepare(other, config, test_set, FAMILIES, STYLIZERS, "cpu")


# -- style methods --------------------------------------------------------------------------------


class Flat:
    """The mean colour of the style, two pixels smaller than the content."""

    def stylize(self, content: Image.Image, styles: Any) -> Image.Image:
        (style,) = styles
        color = style.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        return Image.new("RGB", (content.width - 2, content.height - 2), color)


def test_style_methods_take_other_images_of_the_target_domain(tmp_path: Path) -> None:
    root = make_images(tmp_path)
    test_set = evaluation_set(root, (3, 3), DataOptions(root=str(root), load_size=32))
    method = StyleMethod(Flat(), torch.device("cpu"), test_set)  # type: ignore[arg-type]
    image = to_float(test_set.inputs["AtoB"].read(0))
    three = method.translations(image, "AtoB", 5, seed=0)
    assert len(three) == 3, "no example twice"
    means = [to_float(test_set.inputs["BtoA"].read(i)).mean(dim=(1, 2)) for i in (1, 2, 0)]
    for result, mean in zip(three, means, strict=True):
        assert result.shape == image.shape, "made as large as its content"
        assert torch.allclose(result.mean(dim=(1, 2)), mean, atol=0.01)
    assert method.num_parameters == 0


# -- tables ---------------------------------------------------------------------------------------


def result(name: str, **values: float) -> Method:
    measures = {
        key: Measure(value, 1.0, "lower" if key == "fid" else "higher")
        for key, value in values.items()
    }
    evaluation = Evaluation({"AtoB": Scores(2, 2, measures)}, ())
    record = RunRecord()
    return Method(name, training=Training(5, 61.0, None, record), evaluation=evaluation)


def test_the_best_is_marked_by_its_way() -> None:
    rows = [result("a", psnr=10.0, fid=3.0), result("b", psnr=math.inf, fid=5.0), result("c")]
    table = quality_table(rows, "AtoB")
    headings = [column.heading for column in table.columns.values()]
    assert headings == ["method", "FID ↓", "PSNR [dB] ↑"]
    cells = table.cells()
    keyed = [dict(zip(table.columns, row, strict=True)) for row in cells]
    best = {(row["method"].value, k) for row in keyed for k, cell in row.items() if cell.best}
    assert best == {("a", "fid"), ("b", "psnr")}
    assert cells[1][2].shown == "∞"
    assert [row[0].value for row in cells] == ["a", "b", "c", "input copied"]


def test_spreadsheets_and_markdown_take_names_as_text() -> None:
    text = csv_text([result('=1+1,"x"', psnr=1.0)])
    (line,) = csv.DictReader(text.splitlines())
    assert line["method"] == '\'=1+1,"x"' and line["training_seconds"] == "61.0"
    assert line["direction"] == "AtoB" and float(line["psnr"]) == 1.0
    assert markdown_text("a|b\n<i> *c* [d](e) `f` \\") == (
        "a\\|b &lt;i&gt; \\*c\\* \\[d\\](e) \\`f\\` \\\\"
    )


def test_times() -> None:
    given = [0.0123, 1.25, 61, 7384, None]
    assert [duration(s) for s in given] == ["12.3 ms", "1.2 s", "1 min 01 s", "2 h 03 min", ""]


def test_fids_nearer_than_their_bias_are_noted() -> None:
    def method(name: str, fid: float) -> Method:
        measures = {"fid_student": Measure(fid, None, "lower", bias=5.0)}
        return Method(name, evaluation=Evaluation({"AtoB": Scores(9, 9, measures)}, ()))

    near, far = method("a", 60.0), method("b", 70.0)
    assert _too_near([near, far]) == []
    (note,) = _too_near([near, far, method("c", 67.0)])
    assert note.startswith("AtoB: so few images raise FID by about 5.0")
