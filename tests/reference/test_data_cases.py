"""The published data code's numbers: preprocessing, pairs, saved pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from core.data.folders import find_paired, find_single
from core.data.images import IMAGE_EXTENSIONS
from core.data.readers.files import Source
from core.data.transforms import CropFlip, crop_side
from core.family import ImageBatch, to_float
from core.options import DataOptions
from core.report.pictures import to_rgb, to_uint8
from tests.reference.cases import Case, close, each


def write_picture(path: Path, image: Tensor) -> None:
    """The 8-bit file that a case describes (`photo_file`, `pair_file`)."""
    pixels = ((image[0] + 1) * 127.5 + 0.5).floor().clamp(0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8)).save(path)


def options_of(root: Path, setting: dict[str, Any]) -> DataOptions:
    keys = ("preprocess", "load_size", "crop_size", "direction")
    return DataOptions.model_validate(
        {"root": str(root), **{key: setting[key] for key in keys if key in setting}}
    )


def cut_out(setting: dict[str, Any], data: DataOptions, pixels: Any) -> Tensor:
    """The crop and flip that a setting names, [C, H, W]."""
    crop = CropFlip(*setting["crop_pos"], crop_side(data), setting["flip"])
    return torch.from_numpy(crop.apply(pixels).copy())


def assert_same_pixels(ours: Tensor, golden: Tensor, tolerance: dict[str, Any]) -> None:
    """Within one level; resized by another Pillow, one value in ten thousand within two."""
    difference, level = (ours.double() - golden.double()).abs(), tolerance["atol"]
    (made_with,) = re.findall(r"Pillow (\d+)", tolerance["note"])
    same = made_with == PIL.__version__.partition(".")[0]
    assert (difference > level).double().mean() <= (0 if same else 1e-4)
    assert difference.max() <= 2 * level


@each("data")
def test_preprocessing(case: Case, tmp_path: Path) -> None:
    golden, settings = case.arrays, case.data["settings"]
    write_picture(tmp_path / "photo.png", case.input("photo"))
    names = {name.removeprefix("tensor_") for name in golden if name.startswith("tensor_")}
    assert names and names <= settings.keys()
    for name in names:
        setting = settings[name]
        data = options_of(tmp_path, setting)
        files = tuple((path,) for path in find_single(tmp_path / "photo.png"))
        channels = 1 if setting["grayscale"] else 3
        source = Source("photo", tmp_path, files, (channels,), False, data)
        (pixels,) = source.read(0)
        ours = to_float(cut_out(setting, data, pixels))
        assert_same_pixels(ours, golden[f"tensor_{name}"], case.data["tolerance"]["tensor arrays"])


@each("data")
def test_saved_pixels(case: Case) -> None:
    golden, fake = case.arrays["saved_pixels"].numpy(), case.input("fake")[0]
    ours = to_rgb(to_uint8(fake.float(), "truncate")).permute(1, 2, 0).numpy().astype(np.float64)
    exact = (fake.permute(1, 2, 0).numpy() + 1) / 2 * 255
    either_way = np.abs(exact - np.round(exact)) < 1e-5
    assert not ((ours != golden) & ~either_way).any()
    assert np.abs(ours - golden).max() <= 1


@each("data")
def test_extensions(case: Case) -> None:
    published = case.data["architecture"]["folders"]["extensions"]
    assert {extension.lower() for extension in published} <= IMAGE_EXTENSIONS


@each("aligned_data")
def test_pairs(case: Case, tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "pair.png", case.input("pair"))
    data = options_of(tmp_path, case.hyper)
    (source,) = Source.of(find_paired(tmp_path, "train"), (3, 3), data)
    a, b = (cut_out(case.hyper, data, pixels)[None] for pixels in source.read(0))
    batch = ImageBatch(a, b, ("a",), ("b",))
    if data.direction == "BtoA":
        batch = batch.swapped()
    ours, golden = {"real_A": batch.a, "real_B": batch.b}, case.arrays
    assert golden.keys() <= ours.keys()
    for name, images in golden.items():
        atol = case.data["tolerance"]["arrays"]["atol"]
        close(to_float(ours[name])[0], images, rtol=0, atol=atol)
