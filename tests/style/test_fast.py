"""The feed-forward stylizer: training, styles and blends, files, the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.config import validate
from core.errors import UserError
from core.family import SampleBatch, StyleFamily
from core.inference.translator import Translator
from core.training.update import Updater
from families import load
from scripts import export, stylize, train
from style.fast.config import Config
from style.fast.family import WEIGHTS, FastStyle
from style.fast.job import numbered
from style.fast.networks import DoublingConv
from tests.conftest import ROOT


def picture(path: Path, seed: int, size: tuple[int, int] = (60, 44)) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Of a small network with two styles."""
    files = [str(picture(tmp_path / f"style_{k}.png", k)) for k in (1, 2)]
    return {
        "family": "fast_style",
        "data": {"root": str(tmp_path), "load_size": 40, "crop_size": 40, "num_workers": 0},
        "style": {"images": files, "size": 48},
        "model": {"width": 8, "num_blocks": 1, "smallest": 32},
    }


def test_it_learns_and_knows_its_styles_again(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    family = FastStyle.build(validate(Config, options))
    assert isinstance(family, StyleFamily)
    coarse = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, (40, 40), mode="bilinear")
    batch, update, terms = SampleBatch(images, ("", ""), ("", "")), Updater("cpu"), []
    for step in range(12):
        update.begin()
        terms.append(family.training_step(batch, step % 2, update))
        update.finish()
    assert terms[-1]["total"] < 0.9 * terms[0]["total"]
    assert family.preview(batch).keys() == {"image", "style 1", "style 2"}
    with Image.open(options["style"]["images"][1]) as opened:
        again = torch.from_numpy(np.array(opened)).permute(2, 0, 1)[None] / 127.5 - 1
    assert family.encode_style(again, "AtoB").tolist() == [[0.0, 1.0]]
    whole, tiled = (Translator(family, torch.device("cpu"), tile=t)(images[:1]) for t in (0, 32))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-3)
    codes = family.random_styles(4)
    assert codes[:2].equal(torch.eye(2)) and torch.allclose(codes.sum(1), torch.ones(4))


def test_a_doubling_is_a_resize_and_a_convolution() -> None:
    """And what is flat stays flat up to the border."""
    torch.manual_seed(0)
    layer, x = DoublingConv(3, 2, bias=True).double(), torch.randn(1, 3, 7, 6).double()
    larger = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    weight = layer.weight.transpose(0, 1).flip(2, 3)
    wanted = torch.nn.functional.conv2d(larger, weight, layer.bias, padding=1)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(layer(x)[inside], wanted[inside])
    flat = layer(torch.ones(1, 3, 5, 4).double())
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))


@pytest.mark.parametrize(
    ("texts", "each", "names", "codes"),
    [
        (["2"], False, ["style_2"], [[0, 1, 0]]),
        (["1", "3"], False, ["style_1-3"], [[0.5, 0, 0.5]]),
        (["1:0.75", "3:.25"], False, ["style_1x0.75-3x.25"], [[0.75, 0, 0.25]]),
        (["1:0.2", "2"], True, ["style_1", "style_2"], [[1, 0, 0], [0, 1, 0]]),
    ],
)
def test_numbers_and_blends(
    texts: Sequence[str], each: bool, names: list[str], codes: list[list[float]]
) -> None:
    found = numbered(texts, 3, each=each)
    assert list(found.names) == names
    torch.testing.assert_close(found.codes, torch.tensor(codes, dtype=torch.float32))


@pytest.mark.parametrize("text", ["0", "4", "photo.jpg", "1:x", "1:0"])
def test_no_such_style(text: str) -> None:
    with pytest.raises(UserError, match=f"--style {text}"):
        numbered([text], 3, each=False)


def test_train_and_paint_with_ones_own(
    tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [
        f"style.images={options['style']['images']}", "style.size=48", "data.root=" + str(tmp_path),
        "data.load_size=40", "data.crop_size=40", "data.num_workers=0", "model.width=8",
        "model.num_blocks=1", "model.smallest=32", "train.num_steps=2", "train.num_steps_decay=0",
        "train.batch_size=2", "log.num_samples=2",
    ]  # fmt: skip
    command = ["--config", str(ROOT / "configs/style/fast.yaml"), "--device", "cpu"]
    command += ["--run-dir", str(tmp_path / "run")]
    assert train.main([*command, *[word for x in settings for word in ("--set", x)]]) == 0
    assert list((tmp_path / "run" / "samples").glob("*.png"))
    paint = ["--content", str(picture(tmp_path / "photo.png", 3, (51, 37))), "--device", "cpu"]
    paint += ["--fast", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--style"]
    assert stylize.main([*paint, "2", "1", "--grid"]) == 0
    images = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert images == [f"photo_{x}.png" for x in ("fake_B_style_1", "fake_B_style_2", "real_A")]
    with Image.open(tmp_path / "out" / "images" / images[0]) as painted:
        assert painted.size == (51, 37)
    assert stylize.main([*paint, "2", "--gif"]) == 2
    assert "--fast takes no --gif" in capsys.readouterr().err


def test_the_carried_one_paints_and_exports(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    whole = load(WEIGHTS, "cpu", tile=0)
    with Image.open(picture(tmp_path / "photo.png", 4, (60, 44))) as photo:
        codes = torch.eye(4)[[0, 3]]
        results = [np.asarray(x, float) for x in whole.in_styles(photo, codes)]
    assert np.abs(results[1] - results[0]).mean() > 10
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    arguments = ["--checkpoint", str(WEIGHTS), "--output", str(tmp_path / "onnx")]
    assert export.main(arguments) == 0
