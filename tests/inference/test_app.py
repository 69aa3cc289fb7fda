"""The demo page: what it does, and the page itself in headless Chromium."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.checkpoints import store
from core.errors import UserError
from core.inference.app import Demo, build_page, find_runs, launch
from core.inference.translator import Translator
from families import CARRIED, FAMILIES
from tests.pages import chromium
from tests.small import family
from tests.toy_styles import Tint

CPU = torch.device("cpu")


def save(path: Path, name: str) -> Any:
    """A checkpoint of untrained networks."""
    built = family(name)
    state = {
        "family": name,
        "config": built.config.model_dump(mode="json"),
        "step": 0,
        "networks": {key: network.state_dict() for key, network in built.networks.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    store.save(state, path)
    return built


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run of cyclegan and a converted pix2pix."""
    save(tmp_path / "cyclegan" / "one" / "checkpoints" / "step_00000007.pt", "cyclegan")
    save(tmp_path / "converted.pt", "pix2pix")
    return tmp_path


def picture(side: int = 24) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_runs_are_found(runs: Path) -> None:
    torch.save({"family": "dcgan"}, runs / "makes_from_noise.pt")
    (runs / "other.pt").write_bytes(b"no checkpoint")
    assert list(find_runs(runs, FAMILIES)) == ["converted.pt", "cyclegan/one"]
    assert list(find_runs(runs / "cyclegan" / "one", FAMILIES)) == ["one"]
    (runs / "empty").mkdir()
    with pytest.raises(UserError, match="no run folder and no checkpoint"):
        find_runs(runs / "empty", FAMILIES)


def test_translations_are_those_of_the_newest_checkpoint(runs: Path) -> None:
    demo = Demo(find_runs(runs, FAMILIES), CPU, FAMILIES)
    picture().save(runs / "x.png")
    ((result, caption),) = demo.translate("cyclegan/one", runs / "x.png", "BtoA", 4, None, 0)
    expected = demo.translator("cyclegan/one")(picture(), "BtoA")
    assert caption == "BtoA" and np.array_equal(result, expected)
    before = demo.translator("cyclegan/one")
    assert demo.translator("cyclegan/one") is before
    save(runs / "cyclegan" / "one" / "checkpoints" / "step_00000009.pt", "cyclegan")
    assert demo.translator("cyclegan/one") is not before
    with pytest.raises(UserError, match="drop a picture"):
        demo.translate("cyclegan/one", None, "AtoB", 4, None, 0)


def test_the_carried_stylizer_has_its_styles(tmp_path: Path) -> None:
    picture().save(tmp_path / "x.png")
    (name,) = CARRIED
    results = Demo(CARRIED, CPU, FAMILIES).translate(name, tmp_path / "x.png", "AtoB", 4, None, 0)
    assert len({result.tobytes() for result, _ in results}) == 4


def test_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = Translator(Tint(), CPU)  # type: ignore[arg-type]
    monkeypatch.setattr(Demo, "translator", lambda self, name: translator)
    demo = Demo({}, CPU, FAMILIES)
    file, red = tmp_path / "x.png", tmp_path / "red.png"
    picture().save(file)
    Image.new("RGB", (20, 20), (255, 0, 0)).save(red)
    results = demo.translate("tint", file, "AtoB", 2, red, 3)
    assert [caption for _, caption in results] == [
        "style of the example",
        "random style 1",
        "random style 2",
    ]
    guided, first, second = (np.asarray(image, dtype=float) for image, _ in results)
    assert guided[..., 0].mean() > 200 > 100 > guided[..., 1].mean()
    assert not np.array_equal(first, second)
    again = demo.translate("tint", file, "AtoB", 2, None, 3)
    assert np.array_equal(again[0][0], results[1][0])
    with pytest.raises(UserError, match="at least one random style"):
        demo.translate("tint", file, "AtoB", 0, None, 0)


# -- the page in a browser --------------------------------------------------------------------


@pytest.fixture
def browser_page() -> Iterator[Any]:
    pytest.importorskip("gradio", reason="pip install -e '.[app]'")
    with chromium() as page:
        yield page


def test_in_chromium(runs: Path, browser_page: Any) -> None:
    demo = Demo(find_runs(runs, FAMILIES), CPU, FAMILIES)
    page = build_page(demo)
    asked: list[str] = []
    browser_page.on("request", lambda request: asked.append(request.url))
    address = launch(page, "127.0.0.1", None)
    try:
        browser_page.goto(address)
        # The first checkpoint translates one way only, and has no styles to choose.
        browser_page.get_by_label("AtoB").wait_for()
        assert browser_page.get_by_label("BtoA").count() == 0
        assert not browser_page.get_by_label("Random styles").first.is_visible()

        browser_page.get_by_label("Checkpoint").click()
        browser_page.get_by_role("option", name="cyclegan/one").click()
        browser_page.get_by_label("BtoA").check()

        browser_page.get_by_role("button", name="Translate").click()
        browser_page.get_by_text("drop a picture first").wait_for()

        content = io.BytesIO()
        picture().save(content, "PNG")
        file = {"name": "x.png", "mimeType": "image/png", "buffer": content.getvalue()}
        browser_page.locator("input[type=file]").first.set_input_files(file)
        browser_page.get_by_role("img", name="x.png").or_(
            browser_page.locator("[data-testid=image] img, .image-frame img")
        ).first.wait_for()
        browser_page.get_by_role("button", name="Translate").click()
        shown = browser_page.locator(".grid-wrap img, .gallery-item img").first
        shown.wait_for()
        response = browser_page.request.get(shown.get_attribute("src"))
        result = Image.open(io.BytesIO(response.body())).convert("RGB")
    finally:
        page.close()
    expected = demo.translator("cyclegan/one")(picture(), "BtoA")
    assert np.array_equal(result, expected)
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), "nothing leaves"
