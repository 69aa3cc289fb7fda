"""Five bands in 16 bits to RGB: trained, previewed, tested, evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from core.data.check import check_folder
from core.data.images import read_picture
from core.errors import UserError
from core.report.pictures import shown, to_rgb
from tests.processes import Script
from tests.runs import changed, make_trainer, small_tree


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """Pairs of five bands and a photo, 36 px."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for domain in "AB":
            (tmp_path / "set" / domain / split).mkdir(parents=True)
        for number in range(2):
            deep = generator.integers(0, 65536, (36, 36, 5), dtype=np.uint16)
            file = tmp_path / "set" / "A" / split / f"{number}.tif"
            tifffile.imwrite(file, deep, photometric="minisblack", planarconfig="contig")
            photo = (deep[..., :3] >> 8).astype(np.uint8)
            Image.fromarray(photo).save(tmp_path / "set" / "B" / split / f"{number}.png")
    return tmp_path / "set"


def test_many_bands_train_and_translate(bands: Path, tmp_path: Path, script: Script) -> None:
    lines = check_folder(bands).config_lines()
    assert "  input_nc: 5" in lines and "  output_nc: 3" in lines and "  cache: none" not in lines
    tree = changed(
        small_tree("pix2pix", bands),
        model={"input_nc": 5},
        log={"bands": [5, 3, 1], "samples_every": 1},
        train={"num_epochs": 1, "num_epochs_decay": 0},
    )
    run = tmp_path / "run"
    trainer = make_trainer(tree, run)
    assert trainer.preview.batch.a.dtype == torch.float32  # type: ignore[union-attr]
    assert trainer.train()
    out = tmp_path / "out"
    done = script("test", "--checkpoint", run, "--input", bands, "--output", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    given = read_picture(bands / "A" / "test" / "0.tif")
    (stem,) = [path.name.split("_real_A")[0] for path in out.rglob("0_real_A.png")]
    (real,) = out.rglob(f"{stem}_real_A.tif")
    assert np.array_equal(tifffile.imread(real), given.stored())
    seen = read_picture(real.with_suffix(".png")).pixels
    assert np.array_equal(seen, given.in_8_bits().pixels[..., [4, 2, 0]])
    assert read_picture(real.with_name(f"{stem}_fake_B.png")).stored().dtype == np.uint16
    done = script("evaluate", "--checkpoint", run, "--data", bands, "--device", "cpu")
    assert "inputs have 5 channels, compared by the first three" in done.stdout + done.stderr


def test_bands_that_are_shown() -> None:
    images = torch.arange(5.0)[:, None, None].expand(5, 2, 2)
    assert shown(images)[:, 0, 0].tolist() == [0, 1, 2]
    assert shown(images, (5, 3, 1))[:, 0, 0].tolist() == [4, 2, 0]
    assert to_rgb(images[:2])[:, 0, 0].tolist() == [0, 0, 0]
    with pytest.raises(UserError, match=r"log\.bands: \[6, 1, 1\]: there are 5 channels"):
        shown(images, (6, 1, 1))
