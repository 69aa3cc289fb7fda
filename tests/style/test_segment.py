"""Automatic masks find what is alike in colour and place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import stylize
from style.segment import segment
from tests.conftest import ROOT


def landscape(sky: tuple[int, int, int], ground: tuple[int, int, int], horizon: int) -> Image.Image:
    pixels = np.full((60, 80, 3), sky, np.int64)
    pixels[horizon:] = ground
    noise = np.random.default_rng(0).integers(-6, 7, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def test_sky_finds_sky_at_another_hour_and_height() -> None:
    day, night = (
        landscape((170, 200, 240), (60, 90, 30), 20),
        landscape((60, 50, 90), (14, 18, 8), 38),
    )
    of_day, of_night = (found.ids for found in segment([day, night], 2))
    assert of_day.shape == of_night.shape == (60, 80)
    sky = of_day[0, 0]
    assert (of_day[:19] == sky).all() and (of_day[21:] != sky).all()
    assert (of_night[:37] == sky).all() and (of_night[39:] != sky).all()


def test_large_gray_and_flat_pictures_and_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large, flat = (
        landscape((200, 200, 200), (20, 20, 20), 30).resize((400, 300)),
        Image.new("L", (30, 20)),
    )
    of_large, of_flat = segment([large.convert("L"), flat], 3)
    assert of_large.ids.shape == (72, 96)
    assert of_flat.ids.shape == (20, 30)

    large.save(tmp_path / "a.png")
    landscape((90, 90, 200), (90, 30, 20), 25).save(tmp_path / "b.png")
    config = ROOT / "configs" / "style" / "photo_wavelet.yaml"
    command = ["--config", config, "--content", tmp_path / "a.png", "--style", tmp_path / "b.png"]
    command += ["--device", "cpu", "--set", "smoothing=none", "--set", "post=false", "--output"]
    results = []
    for name, more in (("whole", []), ("parts", ["--segment", "2"])):
        assert stylize.main([str(word) for word in [*command, tmp_path / name, *more]]) == 0
        results.append(np.asarray(Image.open(tmp_path / name / "images" / "a.png"), float))
    # Its upper half is of the other's upper part now, and no longer mixed with the lower one.
    whole, parts = (result[10:140].mean((0, 1)) for result in results)
    assert np.abs(parts - (90, 90, 200)).max() < 12 < np.abs(whole - (90, 90, 200)).max()
    assert (
        stylize.main(
            [str(word) for word in [*command, tmp_path, "--segment", "--content-mask", "x.png"]]
        )
        == 2
    )
    assert "--segment makes masks" in capsys.readouterr().err
