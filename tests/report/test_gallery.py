"""The HTML pages: what they list, what they survive, and that every link leads to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from core.errors import UserError
from core.report.gallery import FILM, RunGallery, write_test_gallery
from core.report.pictures import save_gif, save_png
from tests.pages import Page, chromium


def draw(path: Path, size: tuple[int, int] = (6, 4)) -> Path:
    save_png(Image.new("RGB", size, (200, 30, 30)), path)
    return path


def log(run: Path, *records: dict[str, object]) -> None:
    with (run / "log.jsonl").open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_run_page_grows_newest_first(tmp_path: Path) -> None:
    gallery = RunGallery(tmp_path)
    for step in (1000, 2000):
        log(tmp_path, {"step": step, "losses": {"G_A": 0.5, "cycle_A": 1e-3 * step}, "lr": 1e-4})
        gallery.add(step, draw(tmp_path / "samples" / f"step {step}.png"))
    gallery.write()
    page = Page(tmp_path / "index.html")
    assert [image["src"] for image in page.images] == [
        "samples/step%202000.png",
        "samples/step%201000.png",
    ]
    assert all(
        (image["loading"], image["width"], image["height"]) == ("lazy", "6", "4")
        for image in page.images
    )
    assert len(page.all("svg")) == 2
    assert "min 1max 2" in page.text
    assert "Alarms" not in page.text


def test_run_page_goes_on_after_a_resume_without_the_later_samples(tmp_path: Path) -> None:
    gallery = RunGallery(tmp_path)
    for step in (10, 20, 30):
        gallery.add(step, draw(tmp_path / "samples" / f"{step}.png"))
    gallery.write()
    resumed = RunGallery(tmp_path)
    assert resumed.samples == gallery.samples
    resumed.resume(20)
    assert len(Page(tmp_path / "index.html").images) == 2
    resumed.add(20, draw(tmp_path / "samples" / "20 again.png"))
    resumed.add(25, draw(tmp_path / "samples" / "25.png"))
    resumed.write()
    paths = [sample.path for sample in RunGallery(tmp_path).samples]
    assert paths == ["samples/10.png", "samples/20 again.png", "samples/25.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "samples"}


def test_log_lines_after_the_resumed_step_did_not_happen(tmp_path: Path) -> None:
    log(
        tmp_path,
        *({"step": step, "losses": {"gan": 9.0}} for step in (1, 2, 3, 4)),
        {"step": 4, "alarm": "a loss was not finite"},
        {"step": 2, "alarm": "resumed <twice>"},
        {"step": 2, "losses": {"gan": 5.0}},
        {"step": 3, "losses": {"gan": 4.0}},
    )
    RunGallery(tmp_path).write()
    text = Page(tmp_path / "index.html").words
    assert "step 2 resumed <twice>" in text
    assert "not finite" not in text
    assert "steps 1 to 3" in text
    assert "min 4max 9" in text


def test_measures_have_charts_of_their_own(tmp_path: Path) -> None:
    log(
        tmp_path,
        {"step": 5, "losses": {"gan": 9.0}},
        {"step": 5, "measures": {"diversity_AtoB": 0.25}},
        {"step": 7, "measures": {"diversity_AtoB": 0.5}},
        {"step": 6, "measures": {"diversity_AtoB": 0.125}},
    )
    RunGallery(tmp_path).write()
    page = Page(tmp_path / "index.html")
    assert "Measures steps 5 to 6" in page.words
    assert "min 0.125max 0.25" in page.text, "step 7 was overtaken by the resume"
    assert len(page.all("svg")) == 2


def test_log_with_gaps_and_torn_lines(tmp_path: Path) -> None:
    losses: list[float | None] = [1.0, None, float("nan"), float("inf"), 2.0, 3.0, None]
    log(tmp_path, *({"step": i, "losses": {"gan": value}} for i, value in enumerate(losses)))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "los\n[1]\n{"losses": {"gan": 1}}\n')
    RunGallery(tmp_path).write()
    page = Page(tmp_path / "index.html")
    assert "nan" in page.text and "min 1max 3" in page.text
    assert "3 unreadable lines of log.jsonl" in page.text


def test_how_far_a_run_is(tmp_path: Path) -> None:
    RunGallery(tmp_path).write()
    page = Page(tmp_path / "index.html")
    assert "it/s" not in page.text and not page.all("progress") and page.links == ["#samples"]
    assert "None yet." in page.text
    (tmp_path / "config.yaml").write_text("{}")
    log(tmp_path, {"step": 0, "num_steps": 2000, "device": "CPU, <2> threads"})
    speed = {"epoch": 3.0, "steps_per_second": 0.25, "elapsed_seconds": 4000.0}
    log(tmp_path, {"step": 1000, "losses": {"gan": 1.0}, **speed})
    RunGallery(tmp_path).write()
    page = Page(tmp_path / "index.html")
    for words in ("step 1,000 of 2,000", "epoch 3", "0.25 it/s", "1 h 06 min left", "CPU, <2> thr"):
        assert words in page.words, words
    assert page.all("progress")[0]["value"] == "1000"
    assert "config.yaml" in page.links
    log(tmp_path, {"step": 2000, "losses": {"gan": 1.0}, **speed})
    RunGallery(tmp_path).write()
    words = Page(tmp_path / "index.html").words
    assert "step 2,000 of 2,000" in words and "left" not in words and "took 1 h 06 min" in words


def test_the_film_of_a_run_is_shown_where_there_is_one(tmp_path: Path) -> None:
    gallery = RunGallery(tmp_path)
    gallery.add(1, draw(tmp_path / "samples" / "1.png"))
    save_gif([Image.new("RGB", (8, 6))], tmp_path / FILM, 100)
    gallery.write()
    sources = [image["src"] for image in Page(tmp_path / "index.html").images]
    assert sources == ["samples/samples.gif", "samples/1.png"]


def test_damaged_index_and_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: not a readable picture"):
        RunGallery(tmp_path).add(1, tmp_path / "gone.png")
    index = tmp_path / "samples" / "index.json"
    index.parent.mkdir()
    for content in ("{", '[{"step": 1}]', "7", '[{"step": "x"}]', "\0"):
        index.write_text(content)
        with pytest.raises(UserError, match=r"index\.json: .*delete it") as caught:
            RunGallery(tmp_path)
        assert "\n" not in str(caught.value)


NAMES = [
    "plain",
    "two words #1? 100% & <b>bold</b> \"quoted\" 'it'",
    "ümläut 馬",
    "javascript:alert(1)",
    "</script><script>alert(1)</script>".replace("/", "\\"),
    os.fsdecode(b"not utf-8 \xff"),
]


def test_every_name_is_escaped_and_every_link_leads_to_its_file(tmp_path: Path) -> None:
    rows = []
    for name in NAMES:
        images = {label: f"{name}_{label}.png" for label in ("real_A", "fake <B>")}
        for path in images.values():
            draw(tmp_path / path)
        rows.append((name, images))
    path = tmp_path / "index.html"
    write_test_gallery(path, 'title </title> & "more"', rows, "runs/<x>/step_7.pt, step 7")
    page = Page(path)
    assert page.all("title") == [{}]
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert len(page.all("article")) == len(NAMES)
    assert len(page.links) == 2 * 2 * len(NAMES)
    for link in page.links:
        assert ":" not in link
        assert "?" not in link
        assert (tmp_path / os.fsdecode(unquote_to_bytes(link))).is_file()
    for name in NAMES[:-1]:
        assert name in page.text
    assert "not utf-8 ?" in page.text
    assert 'title </title> & "more"' in page.text
    assert "runs/<x>/step_7.pt, step 7" in page.text


def test_pages_need_no_network(tmp_path: Path) -> None:
    write_test_gallery(tmp_path / "test.html", "t", [("x", {"fake": "x.png"})])
    log(tmp_path, {"step": 1, "losses": {"gan": 1.0}})
    RunGallery(tmp_path).write()
    for name in ("test.html", "index.html"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "//" not in page.replace("// ", "")
        assert "@import" not in page
        assert "url(" not in page


def test_a_row_has_the_columns_of_its_own_direction_and_shows_what_is_missing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep" / "index.html"
    draw(path.parent / "images" / "1r.png", (20, 10))
    rows: list[tuple[str, dict[str, str | None]]] = [
        ("one", {"real_A": "images/1r.png", "fake_B": "images/1f.png", "rec_A": None}),
        ("two", {"real_B": "2.png", "fake_A": "2f.png"}),
    ]
    write_test_gallery(path, "run", rows)
    page = Page(path)
    assert [link["data-label"] for link in page.all("a")] == [
        "real_A",
        "fake_B",
        "real_B",
        "fake_A",
    ]
    missing = [div for div in page.all("div") if "missing" in div["class"]]
    assert len(missing) == 1
    assert [image.get("width") for image in page.images] == ["20", None, None, None]
    assert any("--columns: 3" in main["style"] for main in page.all("main"))


def test_pictures_over_all_inputs_stand_above_the_rows(tmp_path: Path) -> None:
    draw(tmp_path / "grid <1>.png")
    rows = [("x", {"fake": "x.png"})]
    write_test_gallery(tmp_path / "p.html", "t", rows, figures=[("A & B", "grid <1>.png")])
    page = Page(tmp_path / "p.html")
    assert [image["src"] for image in page.images] == ["grid%20%3C1%3E.png", "x.png"]
    assert "A & B" in page.text


def test_many_columns_break_into_lines_and_leave_no_gaps(tmp_path: Path) -> None:
    columns = [f"style_{i}" for i in range(20)]
    rows = [("x", {label: f"{label}.png" for label in columns[:12]}), ("y", {"style_19": "y.png"})]
    write_test_gallery(tmp_path / "p.html", "t", rows)
    page = Page(tmp_path / "p.html")
    assert len(page.images) == 13
    assert not any("missing" in one.get("class", "") for one in page.all("div"))
    assert any("--columns: 8" in main["style"] for main in page.all("main"))


def test_empty_gallery(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    write_test_gallery(path, "run", [])
    assert "No images." in Page(path).text


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(viewport={"width": 1280, "height": 900}) as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert errors == []


def overflowing(page: Any) -> list[str]:
    """Texts that stick out of their card, and the page if it is wider than the window."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll(".card *")].filter(one => {
          const card = one.closest(".card").getBoundingClientRect();
          return one.getClientRects().length && one.getBoundingClientRect().right > card.right + .5;
        }).map(one => one.outerHTML.slice(0, 80))"""
    )
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append("page")
    return found


def contrast(page: Any, selector: str) -> float:
    """Of a text, or of the stroke of a plot, with the card."""
    return page.evaluate(  # type: ignore[no-any-return]
        """selector => {
          const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
          const one = document.querySelector(selector), style = getComputedStyle(one);
          const ink = one.tagName === "path" ? style.stroke : style.color;
          const card = getComputedStyle(one.closest(".card")).backgroundColor;
          const [a, b] = [light(ink), light(card)].sort((p, q) => q - p);
          return (a + .05) / (b + .05);
        }""",
        selector,
    )


def test_run_page_in_chromium(tmp_path: Path, browser: Any) -> None:
    gallery = RunGallery(tmp_path)
    names = ("gan", "test_edge_correlation_AtoB", "x" * 60)
    for step in (1, 2, 3):
        log(tmp_path, {"step": step, "losses": dict.fromkeys(names, 123.456 * step)})
        gallery.add(step, draw(tmp_path / "samples" / f"{step}.png", (100, 40)))
    gallery.write()
    browser.goto((tmp_path / "index.html").as_uri())
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        browser.set_viewport_size({"width": width, "height": 800})
        browser.emulate_media(color_scheme=scheme)
        assert overflowing(browser) == []
        assert contrast(browser, ".charts figcaption") > 7
        assert contrast(browser, ".charts .soft") > 4.5
        assert contrast(browser, ".charts path[style*=accent]") > 4.5
        shown = browser.locator("article img").first
        factor, rest = divmod(shown.evaluate("image => image.clientWidth"), 100)
        assert rest == 0 and factor == (3 if width == 390 else 5), "fills the card, whole factors"
        assert shown.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    browser.locator("article a").first.click()
    box = browser.locator("dialog")
    assert box.locator("strong").inner_text() == "Step 3"
    browser.keyboard.press("ArrowRight")
    assert box.locator("strong").inner_text() == "Step 2"
    browser.keyboard.press("Escape")
    assert not box.is_visible()


def test_gallery_in_chromium(tmp_path: Path, browser: Any) -> None:
    rows = []
    for way, labels in (("A", ("real_A", "fake_B")), ("B", ("real_B", "fake_A"))):
        for number in (1, 2):
            paths = {label: f"{way}{number}_{label}.png" for label in labels}
            for path in paths.values():
                draw(tmp_path / path, (12, 12))
            rows.append((f"test{way}/{number}", paths))
    write_test_gallery(tmp_path / "index.html", "t", rows)
    browser.emulate_media(color_scheme="dark")
    browser.set_viewport_size({"width": 390, "height": 800})
    browser.goto((tmp_path / "index.html").as_uri())
    assert overflowing(browser) == []
    assert browser.locator("article img").first.evaluate("image => image.clientWidth") % 12 == 0
    browser.locator("a[data-label=fake_B]").first.click()
    picture, place = browser.locator("dialog img"), browser.locator("#place")
    assert picture.get_attribute("alt") == "fake_B of testA/1"
    assert picture.evaluate("image => image.naturalWidth") == 12
    for key, alt, at in (
        ("ArrowRight", "fake_B of testA/2", "2 / 4"),
        ("ArrowRight", "fake_A of testB/1", "3 / 4"),  # what stands in its place
        ("ArrowLeft", "fake_B of testA/2", "2 / 4"),
        ("ArrowDown", "real_A of testA/2", "2 / 4"),
        ("ArrowLeft", "real_A of testA/1", "1 / 4"),
        ("ArrowLeft", "real_B of testB/2", "4 / 4"),
    ):
        browser.keyboard.press(key)
        assert (picture.get_attribute("alt"), place.inner_text()) == (alt, at)
    browser.keyboard.press("Escape")
    browser.get_by_label("Filter by name").fill("TESTB")
    assert browser.locator("article:visible").count() == 2
    assert browser.locator("#count").inner_text() == "2 of 4"
    browser.locator("a[data-label=real_B]").first.click()
    assert place.inner_text() == "1 / 2"
