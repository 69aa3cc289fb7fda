"""The published data code's numbers: preprocessing, pairs, saved pixels."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.data.folders import find_paired, find_single
from core.data.images import IMAGE_EXTENSIONS, official_uint8
from core.data.source import Source
from core.data.transforms import CropFlip, crop_side
from core.family import ImageBatch, to_float
from core.options import DataOptions
from tests.conftest import reference_dir


def cases(kind: str) -> list[Any]:
    folders = [
        path.parent
        for family in ("cyclegan", "pix2pix")
        for path in sorted((reference_dir() / family).glob("*/case.json"))
        if json.loads(path.read_text())["case_kind"] == kind
    ]
    if not folders:
        reason = f"no reference cases of kind {kind} at {reference_dir()} (set $REFERENCE_DIR)"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(folder, id=f"{folder.parent.name}/{folder.name}") for folder in folders]


def fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", reference_dir() / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    case = json.loads((folder / "case.json").read_text())
    inputs = {
        name: getattr(fill(), entry["kind"])(name, entry["shape"], entry["seed"])
        for name, entry in case["inputs"].items()
    }
    with np.load(folder / "golden.npz") as golden:
        return case, inputs, dict(golden)


def write_picture(path: Path, image: np.ndarray) -> None:
    """The 8-bit file that a case describes (`photo_file`, `pair_file`)."""
    pixels = np.clip(np.floor((image[0] + 1) * 127.5 + 0.5), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)


def as_floats(pixels: np.ndarray) -> np.ndarray:
    return to_float(torch.from_numpy(pixels.copy())).numpy()


def options_of(root: Path, setting: dict[str, Any]) -> DataOptions:
    keys = ("preprocess", "load_size", "crop_size", "direction")
    return DataOptions.model_validate(
        {"root": str(root), **{key: setting[key] for key in keys if key in setting}}
    )


def crop_flip(setting: dict[str, Any], data: DataOptions) -> CropFlip:
    x, y = setting["crop_pos"]
    return CropFlip(x, y, crop_side(data), setting["flip"])


@pytest.mark.parametrize("folder", cases("data"))
def test_preprocessing(folder: Path, tmp_path: Path) -> None:
    case, inputs, golden = load(folder)
    write_picture(tmp_path / "photo.png", inputs["photo"])
    atol = case["tolerance"]["tensor arrays"]["atol"]
    assert case["settings"]
    for name, setting in case["settings"].items():
        data = options_of(tmp_path, setting)
        files = tuple((path,) for path in find_single(tmp_path / "photo.png").files)
        channels = 1 if setting["grayscale"] else 3
        source = Source("photo", tmp_path, files, (channels,), False, data)
        (pixels,) = source.read(0)
        assert pixels.shape == source.shapes(0)[0]
        ours = as_floats(crop_flip(setting, data).apply(pixels))
        np.testing.assert_allclose(ours, golden[f"tensor_{name}"], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("folder", cases("data"))
def test_saved_pixels(folder: Path) -> None:
    _, inputs, golden = load(folder)
    ours = official_uint8(inputs["fake"][0]).astype(np.float64)
    exact = (inputs["fake"][0].astype(np.float64).transpose(1, 2, 0) + 1) / 2 * 255
    either_way = np.abs(exact - np.round(exact)) < 1e-5
    differs = ours != golden["saved_pixels"]
    assert not (differs & ~either_way).any()
    assert np.abs(ours - golden["saved_pixels"]).max() <= 1


@pytest.mark.parametrize("folder", cases("data"))
def test_extensions(folder: Path) -> None:
    case, _, _ = load(folder)
    published = case["architecture"]["folders"]["extensions"]
    assert {extension.lower() for extension in published} <= IMAGE_EXTENSIONS


@pytest.mark.parametrize("folder", cases("aligned_data"))
def test_pairs(folder: Path, tmp_path: Path) -> None:
    case, inputs, golden = load(folder)
    write_picture(tmp_path / "train" / "pair.png", inputs["pair"])
    setting = {**case["hyperparameters"], **case["hyperparameters"]["this_case"]}
    data = options_of(tmp_path, setting)
    source = Source.pairs(find_paired(tmp_path, "train"), (3, 3), data)
    a, b = (
        torch.from_numpy(crop_flip(setting, data).apply(pixels).copy())[None]
        for pixels in source.read(0)
    )
    batch = ImageBatch(a, b, ("a",), ("b",))
    if data.direction == "BtoA":
        batch = batch.swapped()
    atol = case["tolerance"]["arrays"]["atol"]
    for name, images in (("real_A", batch.a), ("real_B", batch.b)):
        np.testing.assert_allclose(
            to_float(images)[0].numpy(), golden[name], rtol=0, atol=atol, err_msg=name
        )
