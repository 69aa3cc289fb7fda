"""Every kind of picture on every path: the same pixels, or the same refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from core.data.check import check_folder
from core.data.images import open_image, read_picture, rgb_of
from core.data.loader import build_loader
from core.errors import UserError
from core.evaluation.image_set import find_evaluation_set
from core.inference.app import Demo
from core.inference.translator import Translator
from core.jobs.translate import Task, find_jobs
from core.report.pictures import in_8_bits
from families import FAMILIES
from tests.data.kinds import DEEP, KINDS, RGB, Kind, swapped_profile
from tests.small import family

CPU = torch.device("cpu")
NOT_FOR_PILLOW = {"array.npy", "deep.npy", "double.tif", "planar16.tif"}
"""Kinds that `Image.open` does not open, or not whole: nothing to give to a translator."""


@pytest.fixture(scope="module")
def identity() -> Any:
    """A family that hands back what it sees."""
    built = family("cyclegan")
    built.translate = lambda images, direction: images
    return built


def seen_by(paths: dict[str, Any], kind: Kind) -> dict[str, np.ndarray | str]:
    """What each path gives: uint8 [H, W, 3], or its refusal."""
    found: dict[str, np.ndarray | str] = {}
    for name, read in paths.items():
        try:
            found[name] = read()
        except UserError as error:
            found[name] = str(error)
    return found


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_path_sees_the_same(
    kind: Kind, identity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind.package:
        pytest.importorskip(kind.package)
    item = kind.item or kind.name
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / folder).mkdir()
        kind.write(tmp_path / folder / kind.name)
    data = identity.config.data.model_copy(
        update={"root": str(tmp_path), "preprocess": "none", "num_workers": 0}
    )
    data = type(data).model_validate(data.model_dump() | {"white": kind.white})
    identity.config = identity.config.model_copy(update={"data": data})
    translator = Translator(identity, CPU)
    monkeypatch.setattr(Demo, "translator", lambda self, name: translator)
    file, out = tmp_path / "testA" / item, tmp_path / "out"
    number = 1 if kind.item else 0

    def train() -> np.ndarray:
        options: Any = {"layout": "unpaired", "split": "train", "channels": (3, 3)}
        loader = build_loader(data, **options, batch_size=1, seed=0, shuffle=False, augment=False)
        batches = [next(loader) for _ in range(number + 1)]
        assert Path(batches[number].names_a[0]).name == item
        return in_8_bits(batches[number].a)[0].permute(1, 2, 0).numpy()

    def evaluate() -> np.ndarray:
        pictures = find_evaluation_set(tmp_path, translator, "none").inputs["AtoB"]
        return in_8_bits(pictures.read(number)).permute(1, 2, 0).numpy()

    def test() -> np.ndarray:
        job = find_jobs(tmp_path, translator, "AtoB", None)[number]
        Task(translator).run(job, out)
        stem = out / "images" / job.name
        real, fake = (rgb_of(open_image(Path(f"{stem}_{x}.png"))) for x in ("real_A", "fake_B"))
        assert np.array_equal(real, fake)
        return fake

    def load() -> np.ndarray:
        with Image.open(file) as image:
            return rgb_of(translator(image, "AtoB"))

    def show() -> np.ndarray:
        ((result, _),) = Demo({}, CPU, FAMILIES).translate("", file, "AtoB", 0, None, 0)
        return rgb_of(result)

    paths = {
        "train": train,
        "evaluate": evaluate,
        "test": test,
        "load": load,
        "app": show,
        "stylize": lambda: rgb_of(open_image(file)),
        "check_data": lambda: _checked(tmp_path, kind),
    }
    if kind.white is not None:
        del paths["stylize"], paths["check_data"]  # they take no run's options
    if kind.item or kind.refused or kind.package or kind.name in NOT_FOR_PILLOW:
        del paths["load"]
    found = seen_by(paths, kind)
    for path, result in found.items():
        if kind.refused:
            assert isinstance(result, str), path
            assert re.search(kind.refused, result), path
        elif path != "check_data":
            assert not isinstance(result, str), f"{path}: {result}"
            expected = found["train"] if kind.seen is None else kind.seen
            off = np.abs(result.astype(int) - expected.astype(int)).max()
            assert off <= (kind.white is not None), path
        else:
            assert not isinstance(result, str), result


def _checked(root: Path, kind: Kind) -> np.ndarray:
    problems = check_folder(root).problems
    if problems:
        raise UserError(problems[0])
    if kind.name == "bands.tif":
        raise UserError("5 channels")  # a set of five bands is in order; a model of three is not
    return np.zeros(0)


def test_a_profile_moves_colours(tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == "icc.png")
    kind.write(tmp_path / kind.name)
    seen = rgb_of(open_image(tmp_path / kind.name))
    assert np.abs(seen.astype(int) - RGB).mean() > 20
    pure = Image.new("RGB", (2, 2), (255, 0, 0))
    with Image.open(tmp_path / kind.name) as image:
        pure.save(tmp_path / "pure.png", icc_profile=image.info["icc_profile"])
    converted = rgb_of(open_image(tmp_path / "pure.png"))[0, 0].tolist()
    assert converted == pytest.approx([0, 0, 255], abs=2)


def test_profiles_of_16_bit_colours_keep_their_depth(tmp_path: Path) -> None:
    """As Pillow converts 8 bits, between whose levels there are others now."""
    profile, eight = swapped_profile(), (DEEP // 257).astype(np.uint8)
    tifffile.imwrite(tmp_path / "deep.tif", DEEP, photometric="rgb", iccprofile=profile)
    tifffile.imwrite(tmp_path / "exact.tif", eight.astype(np.uint16) * 257, photometric="rgb",
                     iccprofile=profile)  # fmt: skip
    Image.fromarray(eight).save(tmp_path / "eight.png", icc_profile=profile)
    expected = rgb_of(open_image(tmp_path / "eight.png")).astype(int)
    exact, deep = (read_picture(tmp_path / f"{name}.tif") for name in ("exact", "deep"))
    assert np.abs(np.rint(exact.pixels * 255) - expected).max() <= 1
    off_level = np.abs(deep.pixels * 255 - np.rint(deep.pixels * 255))
    assert deep.levels.deep and (off_level > 0.1).mean() > 0.5
