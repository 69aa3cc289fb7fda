"""Pictures of other programs and figures of papers as entries."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageOps

from core.compare import comparison
from core.compare.tables import cost_table, markdown, quality_table
from core.errors import UserError
from tests.compare.conftest import compare_tree, load, make_images, write_config
from tests.pages import Page


def test_pictures_and_figures_stand_beside_each_other(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data")
    for path in (root / "testA").iterdir():
        (tmp_path / "made").mkdir(exist_ok=True)
        negative = ImageOps.invert(Image.open(path).convert("RGB")).resize((70, 50))
        negative.save(tmp_path / "made" / f"{path.stem}.bmp")
    entries = [
        {"name": "Theirs", "folder": {"AtoB": str(tmp_path / "made")}},
        {"name": "Paper", "published": {"AtoB": {"fid": 45.5}}, "source": "Park et al. 2020"},
    ]
    config = load(write_config(tmp_path, compare_tree(root, entries)))
    methods, drawing = comparison.compare(config, tmp_path / "out", {}, {}, "cpu")
    quality = quality_table(methods, "AtoB")
    theirs, paper = quality.rows
    assert theirs["color_inversion"] < -0.9 and "psnr" in theirs
    assert paper == {"method": "Paper", "fid": 45.5}
    assert [set(row) for row in cost_table(methods).rows] == [{"method"}, {"method"}]
    text = markdown(methods, comparison._notes(methods, comparison.find_test_set(config)))
    assert "figures of Park et al. 2020" in text and "not compared" not in text
    picture = Image.open(tmp_path / "out" / drawing.rows[0].images["Theirs"])
    assert picture.size == (32, 32), "resized by the rule of the inputs"
    page = Page(tmp_path / "out" / "index.html")
    missing = [v for v in page.all("div") if "missing" in v.get("class", "")]
    assert not missing and "45.5" in page.text


def test_a_picture_for_every_input(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data")
    (root / "trainB" / "2 #%.png").unlink()
    entry = {"name": "Theirs", "folder": {"AtoB": str(root / "truthB")}}
    config = load(write_config(tmp_path, compare_tree(root, [entry])))
    (root / "truthB" / "1 #%.png").rename(root / "truthB" / "other.png")
    for gone in ("testA/1 #%.png", "testB/1 #%.png"):
        (root / gone).rename((root / gone).with_name("one.png"))
    (root / "truthB" / "other.png").rename(tmp_path / "one.png")
    with pytest.raises(UserError, match="lacks 1 of 3 truths"):
        comparison.compare(config, tmp_path / "out", {}, {}, "cpu")
    (root / "truthB").rename(root / "made")
    entry["folder"] = {"AtoB": str(root / "made")}  # type: ignore[dict-item]
    config = load(write_config(tmp_path, compare_tree(root, [entry])))
    with pytest.raises(UserError, match=r"no translation for testA/one\.png"):
        comparison.compare(config, tmp_path / "out", {}, {}, "cpu")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"folder": {"AtoB": "x"}, "checkpoint": "y"}, "either checkpoint, config, folder or"),
        ({"published": {"AtoB": {"fid": 1.0}}}, "need their source"),
        ({"published": {"AtoB": {"fidd": 1.0}}, "source": "x"}, "fidd is no measure"),
        ({"folder": {"up": "x"}}, "AtoB"),
    ],
)
def test_mistakes(tmp_path: Path, entry: dict[str, object], message: str) -> None:
    path = write_config(tmp_path, compare_tree(tmp_path, [{"name": "x", **entry}]))
    with pytest.raises(UserError, match=message):
        load(path)
