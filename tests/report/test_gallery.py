"""The HTML pages: what they list, what they survive, and that every link leads to a file."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from core.errors import UserError
from core.report.gallery import MAX_CHART_POINTS, RunGallery, write_test_gallery
from core.report.pictures import save_png

VOID = {"meta", "img", "input", "link", "br", "path"}


class Page(HTMLParser):
    """Links, texts and elements of a page; complains about tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.elements.append((tag, values))
        self.links += [values[key] for key in ("href", "src") if values.get(key)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [values for name, values in self.elements if name == tag]


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
    page = Page(tmp_path / "index.html")
    assert [image["src"] for image in page.all("img")] == [
        "samples/step%202000.png",
        "samples/step%201000.png",
    ]
    assert all(
        (image["loading"], image["width"], image["height"]) == ("lazy", "6", "4")
        for image in page.all("img")
    )
    assert len(page.all("svg")) == 2
    assert "min 1max 2" in page.text
    assert "Alarms" not in page.text


def test_run_page_goes_on_after_a_resume_without_the_later_samples(tmp_path: Path) -> None:
    gallery = RunGallery(tmp_path)
    for step in (10, 20, 30):
        gallery.add(step, draw(tmp_path / "samples" / f"{step}.png"))
    resumed = RunGallery(tmp_path)
    assert resumed.samples == gallery.samples
    resumed.resume(20)
    assert len(Page(tmp_path / "index.html").all("img")) == 2
    resumed.add(20, draw(tmp_path / "samples" / "20 again.png"))
    resumed.add(25, draw(tmp_path / "samples" / "25.png"))
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
    text = Page(tmp_path / "index.html").text
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
    assert "Measures steps 5 to 6" in " ".join(page.text.split())
    assert "min 0.125max 0.25" in page.text, "step 7 was overtaken by the resume"
    assert len(page.all("svg")) == 2


def test_log_with_gaps_and_torn_lines(tmp_path: Path) -> None:
    losses: list[float | None] = [1.0, None, float("nan"), float("inf"), 2.0, 3.0, None]
    log(tmp_path, *({"step": i, "losses": {"gan": value}} for i, value in enumerate(losses)))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "los\n[1]\n{"losses": {"gan": 1}}\n')
    RunGallery(tmp_path).write()
    page = Page(tmp_path / "index.html")
    (curve,) = page.all("path")
    assert curve["d"].count("M") == 2
    assert curve["d"].count("L") == 1
    assert "nan" in page.text
    assert "3 unreadable lines of log.jsonl" in page.text


@pytest.mark.parametrize("values", [[2.0], [2.0] * 50, [float("nan")] * 3])
def test_flat_curves(tmp_path: Path, values: list[float]) -> None:
    log(tmp_path, *({"step": i, "losses": {"gan": value}} for i, value in enumerate(values)))
    RunGallery(tmp_path).write()
    assert "nan" not in Page(tmp_path / "index.html").all("path")[0]["d"]


def test_long_logs_are_thinned(tmp_path: Path) -> None:
    log(tmp_path, *({"step": i, "losses": {"gan": float(i)}} for i in range(5001)))
    RunGallery(tmp_path).write()
    page = Page(tmp_path / "index.html")
    curve = page.all("path")[0]["d"]
    assert MAX_CHART_POINTS / 2 < curve.count("L") < MAX_CHART_POINTS
    assert curve.startswith("M0.0 46.0L")
    assert curve.endswith("L240.0 2.0")


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
    columns = ["real_A", "fake <B>"]
    rows = []
    for name in NAMES:
        images = {label: f"{name}_{label}.png" for label in columns}
        for path in images.values():
            draw(tmp_path / path)
        rows.append((name, images))
    path = tmp_path / "index.html"
    write_test_gallery(path, 'title </title> & "more"', rows, columns)
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


def test_pages_need_no_network(tmp_path: Path) -> None:
    write_test_gallery(tmp_path / "test.html", "t", [("x", {"fake": "x.png"})], ["fake"])
    RunGallery(tmp_path).write()
    for name in ("test.html", "index.html"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "//" not in page.replace("// ", "")
        assert "@import" not in page
        assert "url(" not in page


def test_columns_keep_their_order_and_gaps_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "index.html"
    rows = [("one", {"fake": "images/1f.png", "real": "images/1r.png"}), ("two", {"fake": "2.png"})]
    write_test_gallery(path, "run", rows, ["real", "fake"])
    page = Page(path)
    links = [link["data-label"] for link in page.all("a")]
    assert links == ["real", "fake", "fake"]
    missing = [div for div in page.all("div") if "missing" in div["class"]]
    assert len(missing) == 1
    with pytest.raises(AssertionError, match="mask"):
        write_test_gallery(path, "run", [("one", {"mask": "m.png"})], ["real"])


def test_pictures_over_all_inputs_stand_above_the_rows(tmp_path: Path) -> None:
    draw(tmp_path / "grid <1>.png")
    rows = [("x", {"fake": "x.png"})]
    write_test_gallery(tmp_path / "p.html", "t", rows, ["fake"], [("A & B", "grid <1>.png")])
    page = Page(tmp_path / "p.html")
    sources = [image["src"] for image in page.all("img") if "src" in image]
    assert sources == ["grid%20%3C1%3E.png", "x.png"]
    assert "A & B" in page.text


def test_many_columns_break_into_lines_and_leave_no_gaps(tmp_path: Path) -> None:
    columns = [f"style_{i}" for i in range(20)]
    rows = [("x", {label: f"{label}.png" for label in columns[:12]}), ("y", {"style_19": "y.png"})]
    write_test_gallery(tmp_path / "p.html", "t", rows, columns)
    page = Page(tmp_path / "p.html")
    assert len([image for image in page.all("img") if "src" in image]) == 13
    assert not any("missing" in one.get("class", "") for one in page.all("div"))
    assert any("--columns: 8" in main["style"] for main in page.all("main"))


def test_empty_gallery(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    write_test_gallery(path, "run", [], ["real"])
    assert "No images." in Page(path).text
