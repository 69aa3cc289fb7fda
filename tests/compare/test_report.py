"""The report: complete whatever fails, true to what was measured, and working in a browser."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

from core.compare import comparison, cost
from core.compare.tables import tree
from core.errors import UserError
from core.family import to_float
from core.report.pictures import to_pil
from cyclegan.family import CycleGAN
from families import FAMILIES, STYLIZERS
from scripts import compare
from tests.compare.conftest import (
    SHARP,
    SIDE,
    Report,
    compare_tree,
    in_this_process,
    load,
    make_images,
    save_untrained,
    write_config,
)
from tests.pages import Page, chromium
from tests.small import family

WORKING = ["CycleGAN", "MUNIT", SHARP, "=Photo"]


def problems(report: Report) -> dict[str, str]:
    return {method.name: "; ".join(method.problems) for method in report.methods}


def test_what_fails_is_said_in_its_place_and_the_rest_goes_on(report: Report) -> None:
    said = problems(report)
    assert "damaged (checksum differs)" in said["CycleGAN"]
    assert "unfinished: stopped at step 2" in said["CycleGAN"]
    assert said["MUNIT"] == "" and said["=Photo"] == ""
    assert "nowhere: no such checkpoint" in said["Missing"]
    assert "dcgan makes pictures from noise and translates none" in said["Faces"]
    assert "not a checkpoint" in said["Broken"]
    assert "did you mean `num_steps`" in said["Typo"]
    assert "photo_style is not trained" in said["Odd"]
    assert [method.name for method in report.methods if method.translator] == WORKING
    text = Page(report.folder / "index.html").text
    for method in report.methods:
        for problem in method.problems:
            assert f"{method.name}: {problem}" in text


def test_every_link_leads_to_a_file_and_every_name_is_escaped(report: Report) -> None:
    page = Page(report.folder / "index.html")
    anchors = {values["id"] for _, values in page.elements if "id" in values}
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in anchors
        else:
            assert (report.folder / unquote(link)).is_file(), link
    assert len(page.all("script")) == 1 and SHARP in page.text
    source = (report.folder / "index.html").read_text()
    assert "@import" not in source and "url(" not in source and "<b>&quot;1" not in source
    assert page.images and all(values["loading"] == "lazy" for values in page.images)
    assert all(int(values["width"]) > 0 for values in page.images)
    rows = [values for values in page.all("article") if values["data-group"] == "inputs"]
    assert len(rows) == 4 and len({row["id"] for row in rows}) == 4
    # Five that failed, in every row and grid; and pix2pix knows one direction only.
    assert sum("missing" in v.get("class", "") for v in page.all("div")) == 4 * 5 + 2 + 5 + 6


def test_pictures_are_those_of_the_methods(report: Report) -> None:
    by_name = {method.name: method for method in report.methods}
    row = report.drawing.rows[0]
    assert (row.direction, row.name) == ("AtoB", "testA/0 #%.png")
    assert list(row.images) == [
        *("input", "example", *WORKING, "truth"),
        *("CycleGAN: there and back", "MUNIT: own style"),
    ]

    def shown(label: str) -> Any:
        return np.asarray(Image.open(report.folder / row.images[label]))

    x = to_float(torch.from_numpy(shown("input").copy()).movedim(2, 0))
    example = to_float(torch.from_numpy(shown("example").copy()).movedim(2, 0))
    gan, munit, photo = (by_name[n].translator for n in ("CycleGAN", "MUNIT", "=Photo"))
    for label, made in (
        ("CycleGAN", gan(x, "AtoB")),  # type: ignore[operator, misc]
        ("CycleGAN: there and back", gan(gan(x, "AtoB"), "BtoA")),  # type: ignore
        ("MUNIT", munit.in_style_of(x, example, "AtoB")),  # type: ignore[union-attr]
        ("=Photo", photo.in_style_of(x, example, "AtoB")),  # type: ignore[union-attr]
    ):
        assert np.array_equal(shown(label), np.asarray(to_pil(made))), label
    grid = Image.open(report.folder / report.drawing.grids["AtoB"]["MUNIT"])
    # Input, two examples, a random one, the reconstruction, the truth; enlarged to 128 px.
    assert grid.width >= 6 * 128 and grid.height >= 3 * 128
    assert set(report.drawing.grids["BtoA"]) == {"CycleGAN", "MUNIT", "=Photo"}


def test_numbers_agree_in_every_form(report: Report) -> None:
    record = json.loads((report.folder / "comparison.json").read_text())
    assert record["methods"] == json.loads(json.dumps(tree(report.methods)))
    assert record["config"]["entries"][1]["name"] == "MUNIT"
    lines = list(csv.DictReader((report.folder / "table.csv").open()))
    assert [(line["method"], line["direction"]) for line in lines][:4] == [
        *(("CycleGAN", "AtoB"), ("CycleGAN", "BtoA"), ("MUNIT", "AtoB"), ("MUNIT", "BtoA")),
    ]
    assert lines[5]["method"] == "'=Photo" and "no such checkpoint" in lines[7]["problems"]
    methods = {method["name"]: method for method in record["methods"]}
    measures = methods["CycleGAN"]["evaluation"]["directions"]["AtoB"]["measures"]
    assert {"psnr", "ssim", "edge_correlation", "color_inversion"} <= measures.keys()
    assert float(lines[0]["psnr"]) == measures["psnr"]["value"]
    assert methods["CycleGAN"]["training"]["steps"] == 2
    assert float(lines[0]["training_seconds"]) == methods["CycleGAN"]["training"]["seconds"] > 0
    assert methods["CycleGAN"]["training"]["peak_memory_bytes"] > 1e7
    assert methods[SHARP]["training"] is None and methods["Missing"]["evaluation"] is None
    assert list(methods[SHARP]["evaluation"]["directions"]) == ["AtoB"]
    networks = report.methods[0].translator.family.networks  # type: ignore[union-attr]
    counts = {n: sum(p.numel() for p in net.parameters()) for n, net in networks.items()}
    config = report.methods[0].translator.family.config  # type: ignore[union-attr]
    whole = CycleGAN.build(config).networks.values()
    of_all = sum(p.numel() for net in whole for p in net.parameters())
    assert methods["CycleGAN"]["parameters"] == of_all, "discriminators are counted, not loaded"
    assert methods["CycleGAN"]["parameters_to_translate"] == counts["G_A"] + counts["G_B"]
    sizes = [(t["size"], t["made"], t["runs"]) for t in methods["MUNIT"]["inference"]]
    assert sizes == [(SIDE, [SIDE, SIDE], 2), (48, [48, 48], 2)]
    diversity = methods["=Photo"]["evaluation"]["directions"]["BtoA"]["measures"]["diversity"]
    assert diversity["value"] > 0
    notes = " ".join(record["notes"])
    assert "fid and kid not measured" in notes and "lpips_diversity not measured" in notes
    written = (report.folder / "table.md").read_text()
    assert "Sharp &lt;b&gt;" in written and "| PSNR \\[dB\\] ↑ |" in written


def test_curves_and_plots(report: Report) -> None:
    page = Page(report.folder / "index.html")
    labels = [values["aria-label"] for values in page.all("div") if values.get("role") == "img"]
    assert any(label == "cycle_A over the steps" for label in labels)
    assert any(label == "recon_x_a over the steps" for label in labels)
    for direction in ("AtoB", "BtoA"):
        assert f"{direction}: time per image and quality" in labels
    assert "AtoB: while training, on its own test images" in labels
    assert "nan" not in " ".join(values["d"] for values in page.all("path"))
    # Every chart names its methods; the ways that copying the input is known for, that too.
    legends = page.text.split("time per image and quality")[1].split("Loss curves")[0]
    assert all(name in legends for name in (*WORKING, "input copied"))


def test_images_of_several_sizes_and_tables_in_a_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "run_in_subprocess", in_this_process)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    root = make_images(tmp_path / "data", ((40, 28), (21, 33)))
    save_untrained(tmp_path / "gan.pt", family("cyclegan"))
    entry = {"name": "GAN", "checkpoint": str(tmp_path / "gan.pt")}
    settings = compare_tree(root, [entry], data={"root": str(root), "size": None})
    path, readme = write_config(tmp_path, settings), tmp_path / "README.md"
    arguments = ["--config", str(path), "--output", str(tmp_path / "out"), "--device", "cpu"]
    arguments += ["--readme", str(readme)]
    assert compare.main(arguments) == 2 and "no such file" in capsys.readouterr().err
    readme.write_text("before\n<!-- compare -->\nold\n")
    assert compare.main(arguments) == 2
    assert "has no <!-- compare -->" in capsys.readouterr().err
    readme.write_text("before\n<!-- compare -->\nold\n<!-- /compare -->\nafter\n")
    assert compare.main(arguments) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- compare -->\n![") and text.endswith("-->\nafter\n")
    assert "| GAN |" in text and "old" not in text
    with Image.open(tmp_path / comparison.PICTURE) as picture:
        assert picture.format == "JPEG"
    shown = sorted((tmp_path / "out" / "images").rglob("gan.png"))
    assert [Image.open(file).size for file in shown] == [(40, 28), (21, 33)] * 2
    page = (tmp_path / "out" / "index.html").read_text()
    assert "as they are" in page and "psnr" not in page.lower().split("btoa")[-1]


def test_nothing_works(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data")
    entries = [{"name": n, "checkpoint": str(tmp_path / n)} for n in ("one", "two")]
    config = load(write_config(tmp_path, compare_tree(root, entries)))
    with pytest.raises(UserError, match=r"no entry can be compared; one: .*no such checkpoint"):
        comparison.compare(config, tmp_path / "out", FAMILIES, STYLIZERS, "cpu")
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_is_found_before_the_trainings(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data")
    (root / "truthB" / "2 #%.png").write_bytes(b"no image")
    entry = {"name": "one", "checkpoint": str(tmp_path / "one")}
    config = load(write_config(tmp_path, compare_tree(root, [entry])))
    with pytest.raises(UserError, match=r"truthB/2 #%\.png"):
        comparison.compare(config, tmp_path / "out", FAMILIES, STYLIZERS, "cpu")


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def browser_page() -> Iterator[Any]:
    with chromium(viewport={"width": 1280, "height": 900}) as page:
        yield page


def names_in(page: Any) -> list[str]:
    found: list[str] = page.locator("#numbers table").first.locator("tbody th").all_inner_texts()
    return found


def test_in_chromium(report: Report, browser_page: Any) -> None:
    page, asked, errors = browser_page, [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((report.folder / "index.html").as_uri())
    # Every picture: lazy ones come as they are scrolled to.
    for image in page.locator("main img").all():
        image.scroll_into_view_if_needed()
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth") > 0
    # The table, by click and by keyboard.
    table = page.locator("#numbers table").first
    head = table.locator("th", has_text="PSNR")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    column = page.evaluate(
        "[...document.querySelector('#numbers table').rows[0].cells]"
        ".findIndex(cell => cell.textContent.includes('PSNR'))"
    )
    values = [float(row.locator("td").nth(column - 1).get_attribute("data-value"))
              for row in table.locator("tbody tr").all()]  # fmt: skip
    assert values == sorted(values)
    up = names_in(page)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending" and names_in(page) == up[::-1]
    table.locator("th", has_text="method").get_by_role("button").focus()
    page.keyboard.press("Space")
    assert names_in(page) == sorted(names_in(page), key=str.lower)
    assert head.get_attribute("aria-sort") == "none"
    # The lightbox: methods by up and down, inputs by left and right, within their group.
    row = page.locator("article[data-group=inputs]").first
    row.locator("a[data-label=MUNIT]").click()
    box = page.locator("dialog")
    assert box.locator("img").get_attribute("alt").startswith("MUNIT of AtoB")
    first = box.locator("strong").inner_text()
    page.keyboard.press("ArrowUp")
    assert box.locator("img").get_attribute("alt").startswith("CycleGAN of AtoB")
    page.keyboard.press("ArrowRight")
    assert box.locator("strong").inner_text() != first
    assert box.locator("#place").inner_text() == "2 / 4"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert box.locator("#place").inner_text() == "4 / 4", "round within the inputs"
    page.keyboard.press("Escape")
    assert not box.is_visible()
    page.goto((report.folder / "index.html").as_uri() + f"#{report.drawing.rows[2].anchor}")
    top = page.locator(f"#{report.drawing.rows[2].anchor}").evaluate(
        "one => one.getBoundingClientRect().top"
    )
    assert -10 < top < 900, "the address leads to the input"
    # A phone: nothing but tables and wide pictures scrolls sideways.
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == [] and all(url.startswith("file:") for url in asked)
