"""Results in the depth and range of their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from core.config import validate
from core.data.images import read_picture
from core.data.picture import EIGHT_BITS, SIXTEEN_BITS, Levels, Picture
from core.data.white import with_white
from core.errors import UserError
from core.inference.translator import Translator
from core.options import DataOptions
from core.report.results import save_picture
from cyclegan.config import Config
from tests.data.image_files import write_plain
from tests.small import family

CPU = torch.device("cpu")
GRAY = np.arange(12, dtype=np.float32).reshape(3, 4, 1) / 11


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bits_come_back_whole(tmp_path: Path, bands: int, alpha: bool) -> None:
    stored = np.random.default_rng(0).integers(0, 65536, (5, 7, bands + 1), dtype=np.uint16)
    unit = SIXTEEN_BITS.unit(stored)
    made = Picture(unit[..., :bands], unit[..., bands:] if alpha else None, SIXTEEN_BITS)
    save_picture(made, tmp_path / "x.png")
    again = read_picture(tmp_path / "x.png")
    assert np.array_equal(again.stored(), stored if alpha else stored[..., :bands])
    assert again.levels == SIXTEEN_BITS and not (tmp_path / "x.tif").exists()
    with Image.open(tmp_path / "x.png") as image:
        assert image.info["srgb"] == 0


@pytest.mark.parametrize(
    "levels", [Levels("uint16", 0, 4095), Levels("int16", -1024, 3071), Levels("float32", 0, 2.5)]
)
def test_other_numbers_go_to_tiff_with_a_png_to_look_at(tmp_path: Path, levels: Levels) -> None:
    save_picture(Picture(GRAY, None, levels), tmp_path / "x.png")
    stored = tifffile.imread(tmp_path / "x.tif")
    assert stored.dtype == levels.dtype and (stored.min(), stored.max()) == (
        levels.black,
        levels.white,
    )
    with Image.open(tmp_path / "x.png") as shown:
        assert np.asarray(shown).tolist() == np.rint(GRAY[..., 0] * 255).tolist()


def test_many_bands_are_kept(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
    save_picture(Picture(bands), tmp_path / "x.png")
    assert np.array_equal(read_picture(tmp_path / "x.tif").pixels, bands)
    assert np.array_equal(read_picture(tmp_path / "x.png").pixels, bands[..., :3])


def translator(white: Any = None) -> Translator:
    built = family("cyclegan", {"input_nc": 1, "output_nc": 1})
    built.translate = lambda images, direction: images
    data = DataOptions(root="x", white=white)
    built.config = built.config.model_copy(update={"data": data})
    return Translator(built, CPU)


def test_a_translation_has_the_depth_and_range_of_its_input(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 3000, 4095]], dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values)
    for white in (None, 4095, [[0, 4095], [0, 4095]]):
        translate = translator(white)
        result = translate(translate.read(tmp_path / "x.tif", "AtoB"), "AtoB")
        assert np.array_equal(result.stored()[..., 0], values)
    told = translator()
    told.set_white(3000)
    assert told(told.read(tmp_path / "x.tif", "AtoB"), "AtoB").stored().max() == 3000
    given = Image.fromarray(values)
    assert np.array_equal(np.asarray(translator()(given)), values), "PIL in, PIL out"


def test_a_translation_has_the_range_of_its_target_where_that_has_one(tmp_path: Path) -> None:
    write_plain(tmp_path / "photo.png", 51)
    translate = translator((None, (0, 10000)))
    depth = translate(translate.read(tmp_path / "photo.png", "AtoB"), "AtoB")
    assert depth.levels == Levels("uint16", 0, 10000) and (depth.stored() == 2000).all()
    back = translate(depth, "BtoA")
    assert back.levels == EIGHT_BITS and (back.pixels == 51).all()


def test_transparent_colours_do_not_matter_and_alpha_returns() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(np.indices((6, 6)).sum(0) % 2, 255, 0)
    other = np.where(pixels[..., 3:] == 0, 255 - pixels, pixels)
    other[..., 3] = pixels[..., 3]
    one, two = (np.asarray(translator()(Image.fromarray(x))) for x in (pixels, other))
    assert np.array_equal(one, two) and np.array_equal(one[..., 3], pixels[..., 3])
    assert (one[pixels[..., 3] == 0][:, :3] == 255).all()


def config(root: Path, **data: Any) -> Config:
    return validate(Config, {"family": "cyclegan", "data": {"root": str(root), **data}})


def test_auto_takes_white_from_the_training_images(tmp_path: Path) -> None:
    for name, low, high in (("0", 10, 900), ("1", 50, 1000)):
        (tmp_path / "trainA").mkdir(exist_ok=True)
        array = np.array([[low, high]], dtype=np.uint16)
        Image.fromarray(array).save(tmp_path / "trainA" / f"{name}.png")
    write_plain(tmp_path / "trainB" / "0.png", 7)
    asked = config(tmp_path, white="auto")
    measured = with_white(asked, "unpaired")
    assert measured.data.white == ((10, 1000), None)
    again = validate(Config, measured.model_dump(mode="json"))
    assert again.data.spans == ((10, 1000), None), "a checkpoint keeps it"
    Image.fromarray(np.array([[0, 9]], np.uint16)).save(tmp_path / "trainA" / "2.png")
    assert with_white(asked, "unpaired", again.model_dump(mode="json")) == measured
    with pytest.raises(UserError, match=r"data\.white"):
        config(tmp_path, white=[[5, 5]])
