"""`scripts/stylize.py` and `scripts/reconstruct.py` over files, and their resumption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import core.procedural.demo
from core.config import load_config
from core.errors import UserError
from core.jobs.stylize import (
    Showing,
    StyleJob,
    draw_grid,
    find_jobs,
    grid_jobs,
    pair_jobs,
    stylize_all,
    stylize_one,
)
from core.stylizer import Look, Progress
from families import STYLIZERS
from scripts import benchmark, demo, reconstruct, stylize
from tests.conftest import ROOT

CONFIG = """\
family: neural_style
model: {encoder: random_filters, pooling: average, content_layers: [scale2], style_layers: [scale1]}
optim: {optimizer: adam, lr: 5.0}
scales: [{size: 40, iterations: 4}]
image: {init: content}
"""


def save(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A config, two contents, two styles, and a pair of them with maps."""
    (tmp_path / "small.yaml").write_text(CONFIG)
    for place, name in enumerate(("a", "b")):
        save(tmp_path / "content" / f"{name}.png", place)
        save(tmp_path / "style" / f"{name}.png", place + 2, size=(36, 44))
    for folder, size in (("content_segment", (40, 30)), ("style_segment", (36, 44))):
        (tmp_path / folder).mkdir()
        Image.new("L", size, 3).save(tmp_path / folder / "a.png")
    return tmp_path


class Counter:
    """A stylizer that counts to five and can be stopped on the way."""

    def __init__(self, stop_at: int = 0) -> None:
        self.stop_at, self.started_at = stop_at, list[int]()

    def stylize(self, content: Image.Image, styles: Any, **kwargs: Any) -> Image.Image:
        progress: Progress = kwargs["progress"]
        start, picture = progress.resumed() or (0, content)
        self.started_at.append(start)
        for done in range(start + 1, 6):
            picture = Image.new("RGB", content.size, (done, 0, 0))
            progress.advance(done, 5, lambda p=picture: Look(p, p, {"term": 1.0}))
            if done == self.stop_at:
                raise KeyboardInterrupt
        return picture


def run(script: Any, *args: object) -> int:
    return script.main([str(arg) for arg in args])


def test_every_way_of_calling(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, out = inputs / "small.yaml", inputs / "out"
    common = ("--config", config, "--device", "cpu")
    one = ("--content", inputs / "content" / "a.png", "--style", inputs / "style")
    assert run(stylize, *common, *one, "--output", out / "blend", "--every", 2, "--gif") == 0
    assert Image.open(out / "blend" / "images" / "a.png").size == (40, 30)
    assert len(list((out / "blend" / "steps" / "a").glob("*.png"))) == 2
    with Image.open(out / "blend" / "steps" / "a.gif") as gif:
        assert gif.n_frames >= 2
    assert not list((out / "blend" / "unfinished").glob("*"))
    assert "images/a.png" in (out / "blend" / "index.html").read_text()
    both = ("--content", inputs / "content", "--style", inputs / "style")
    assert run(stylize, *common, *both, "--grid", "--output", out / "grid") == 0
    names = {path.stem for path in (out / "grid" / "images").iterdir()}
    assert names == {"a_a", "a_b", "b_a", "b_b"}
    # 40x30 and 36x44 px, all with 3 x 44 px as their longer side, and 2 px between them.
    size = (3 * 132 + 4 * 2, 132 + 2 * 99 + 4 * 2)
    assert Image.open(out / "grid" / "grid.png").size == size
    (inputs / "content" / "b.png").unlink()
    (inputs / "style" / "b.png").unlink()
    assert run(stylize, *common, "--pairs", inputs, "--output", out / "pairs") == 0
    assert [path.stem for path in (out / "pairs" / "images").iterdir()] == ["a"]
    capsys.readouterr()
    assert run(reconstruct, *common, *one[:3], inputs / "style" / "a.png", "--layers", "scale1",
               "scale2", "--output", out / "layers") == 0  # fmt: skip
    assert {path.stem for path in (out / "layers" / "images").iterdir()} == {
        "content_scale1",
        "content_scale2",
        "style_scale1",
        "style_scale2",
    }
    size = (3 * 132 + 4 * 2, 99 + 132 + 3 * 2)
    assert Image.open(out / "layers" / "reconstructions.png").size == size


def test_an_interrupted_result_goes_on_from_its_last_picture(inputs: Path) -> None:
    config = load_config(inputs / "small.yaml", STYLIZERS)
    content = inputs / "content" / "a.png"
    job, out = StyleJob("a", content, (content,)), inputs / "out"
    with pytest.raises(KeyboardInterrupt):
        stylize_one(Counter(stop_at=3), job, config, out, Showing(every=2))
    again, showing = Counter(), Showing(every=2, resume=True)
    made = stylize_one(again, job, config, out, showing)
    assert again.started_at == [2]
    assert Image.open(made).getpixel((0, 0)) == (5, 0, 0)
    assert sorted(p.stem for p in (out / "steps" / "a").iterdir()) == ["000002", "000004", "000005"]
    untouched = Counter()
    stylize_one(untouched, job, config, out, showing)
    assert untouched.started_at == []
    for other in (config.model_copy(update={"name": "other"}), None):
        if other is None:
            save(content, 9)
        changed = Counter()
        stylize_one(changed, job, other or config, out, showing)
        assert changed.started_at == [0]


def test_transparency_returns(inputs: Path) -> None:
    content = save(inputs / "clear.png", 5, "RGBA")
    config = load_config(inputs / "small.yaml", STYLIZERS)
    job = StyleJob("clear", content, (content,))
    made = stylize_one(Counter(), job, config, inputs / "out", Showing(0))
    expected = np.asarray(Image.open(content).getchannel("A"))
    assert (np.asarray(Image.open(made).getchannel("A")) == expected).all()


@pytest.mark.parametrize("name", ["neural", "photo_wavelet"])
def test_hidden_colours_do_not_matter(inputs: Path, name: str) -> None:
    """What is transparent gives no style: neither its hidden colours nor the white they become."""
    path = inputs / "small.yaml" if name == "neural" else ROOT / "configs/style/photo_wavelet.yaml"
    config = load_config(path, STYLIZERS)
    stylizer = STYLIZERS[config.family].build(config, torch.device("cpu"))
    generator = np.random.default_rng(0)
    alpha = np.zeros((36, 40, 1), np.uint8)
    alpha[:20] = 255
    visible = generator.integers(0, 128, (36, 40, 3), dtype=np.uint8)

    def styled(hidden: int, opaque: bool = False) -> np.ndarray:
        pixels = np.where(alpha > 0, visible, hidden).astype(np.uint8)
        layers = [pixels] if opaque else [pixels, alpha]
        picture = Image.fromarray(np.dstack(layers))
        result = stylizer.stylize(picture.convert("RGBA"), [picture.transpose(0)])
        return np.asarray(result.convert("RGB"), dtype=float)[:18]

    first = styled(0)
    assert np.array_equal(first, styled(200))
    assert np.abs(first - styled(255, opaque=True)).mean() > 1


def test_unreadable_images_are_left_out_and_named(inputs: Path) -> None:
    config = load_config(inputs / "small.yaml", STYLIZERS)
    (inputs / "content" / "b.png").write_bytes(b"no picture")
    jobs = grid_jobs(sorted((inputs / "content").iterdir()), [inputs / "style" / "a.png"])
    failures = stylize_all(Counter(), jobs, config, inputs / "out", Showing(0))
    assert len(failures) == 1
    assert "b.png" in failures[0]
    assert draw_grid(jobs, inputs / "out").is_file()


def test_names_stay_apart(inputs: Path) -> None:
    save(inputs / "content" / "a.jpg", 4, "RGB")
    found = find_jobs(inputs / "content", [inputs / "style" / "a.png"])
    assert [job.name for job in found] == ["a_jpg", "a_png", "b"]
    save(inputs / "content" / "deep" / "b.png", 5)
    names = [job.name for job in find_jobs(inputs / "content", [inputs / "style" / "a.png"])]
    assert names == ["a_jpg", "a_png", "b", "deep_b"]
    contents, styles = [Path("a.png"), Path("a_b.png")], [Path("b_c.png"), Path("c.png")]
    assert [job.name for job in grid_jobs(contents, styles)] == [
        "a_b_c",
        "a_c",
        "a_b_b_c",
        "a_b_c_2",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "--content and --style are needed"),
        (("--pairs", "content"), "no folder content/"),
        (("--pairs", ".", "--grid"), "--pairs FOLDER stands alone"),
        (("--content", "content", "--style", "nowhere.png"), "nowhere.png"),
        (("--content", "content/a.png", "--style", "style", "--content-mask",
          "content_segment/a.png"), "0 of 2 style images"),
        (("--content", "content", "--style", "style", "--content-mask",
          "content_segment/a.png"), "one mask for 2 content images"),
        (("--content", "content", "--style", "style", "--grid", "--style-mask",
          "style_segment/a.png"), "--grid takes no masks"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    inputs: Path,
    args: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(inputs)
    assert run(stylize, "--config", "small.yaml", "--output", "out", "--device", "cpu", *args) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_pairs_need_partners(inputs: Path) -> None:
    (inputs / "style" / "b.png").unlink()
    with pytest.raises(UserError, match="content/b has no partner"):
        pair_jobs(inputs)
    save(inputs / "content" / "b.jpg", 1)
    with pytest.raises(UserError, match=r"b\.png and b\.jpg: of one name"):
        pair_jobs(inputs)
    (inputs / "content" / "b.jpg").unlink()
    save(inputs / "style" / "b.png", 1)
    (inputs / "style_segment" / "a.png").unlink()
    with pytest.raises(UserError, match="a has a map on one side only"):
        pair_jobs(inputs)


def of_64_px(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: make(*args, **options | {"size": 64})


def test_demo_paints_summers(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    for name in ("make_seasons", "make_paintings"):
        made = of_64_px(getattr(core.procedural.demo, name))
        monkeypatch.setattr(core.procedural.demo, name, made)
    assert run(demo, "--config", "small.yaml", "--output", "shown", "--device", "cpu") == 0
    assert len(list((inputs / "shown" / "images").iterdir())) == 10
    assert (inputs / "shown" / "grid.png").is_file()


@pytest.mark.usefixtures("quick_spawn")
def test_benchmark_of_iterations(inputs: Path) -> None:
    # Named, as this machine's own fast path might be compiled, which takes a minute.
    ways = ("--fast", "run.channels_last=true", "--repeats", "2", "--device", "cpu")
    config, out = str(inputs / "small.yaml"), inputs / "speed.json"
    assert run(benchmark, "--config", config, *ways, "--json", str(out)) == 0
    report = json.loads(out.read_text())
    assert report["ratio"] > 0
    assert report["fast_options"]["channels_last"] is True
    assert report["fast_options"]["winograd"] is True, "what is not named is taken by itself"


def test_a_peer_needs_its_checkout_and_a_config_of_its_kind(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--config", str(inputs / "small.yaml"), "--device", "cpu", "--peer")
    for peer, file, wrong in (
        ("neural-style-pt", "other.py", "lacks neural_style.py"),
        ("fastphotostyle", "photo_wct.py", "is of neural_style"),
    ):
        (tmp_path / file).touch()
        assert run(benchmark, *words, peer, "--against", str(tmp_path)) == 2
        assert wrong in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "style").glob("neural*.yaml")))
def test_neural_configs_differ_from_the_defaults(path: Path) -> None:
    config = load_config(path, STYLIZERS)
    assert config.name == f"style/{path.stem}"
    plain = type(config)().model_dump(mode="json")
    for section, keys in yaml.safe_load(path.read_text()).items():
        if isinstance(keys, dict):
            assert not [key for key, value in keys.items() if plain[section][key] == value]


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: Any, **_kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    config = load_config(ROOT / "configs" / "style" / "neural.yaml", STYLIZERS)
    with pytest.raises(UserError, match=r"vgg19-d01eb7cb.pth: .* put it there"):
        STYLIZERS["neural_style"].build(config, torch.device("cpu"))
