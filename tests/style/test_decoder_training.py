"""Training PhotoWCT's decoders from the command line, then stylising with the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.config import load_config
from core.data.images import open_image
from families import STYLIZERS
from tests.conftest import ROOT
from tests.processes import Script


def test_train_convert_stylize(tmp_path: Path, script: Script) -> None:
    photos, generator = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for number in range(3):
        noise = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 36)).save(photos / f"{number}.png")
    settings = [
        *(f"data.root={photos}", "model.encoder=null", "data.load_size=36", "data.crop_size=24"),
        *("data.num_workers=0", "train.num_steps=2", "train.batch_size=2", "log.num_samples=2"),
    ]
    done = script(
        "train",
        *("--config", ROOT / "configs" / "style" / "photowct_decoders.yaml"),
        *("--run-dir", tmp_path / "run", "--device", "cpu"),
        *[word for setting in settings for word in ("--set", setting)],
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run" / "samples").glob("*.png"))
    done = script("convert", "--export", tmp_path / "run", "--output", tmp_path / "official")
    assert done.returncode == 0, done.stderr
    config = load_config(
        ROOT / "configs" / "style" / "photo.yaml",
        STYLIZERS,
        [f"weights={tmp_path / 'official' / 'photo_wct.pth'}", "post=false"],
    )
    run = STYLIZERS["photo_style"].build(config, torch.device("cpu"))
    content, style = (open_image(photos / f"{number}.png") for number in (0, 1))
    assert run.stylize(content, [style]).size == (44, 32)
