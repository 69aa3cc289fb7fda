"""Several inputs stacked by name, and label maps as classes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.config import validate
from core.data.inputs import with_inputs
from core.data.loader import build_loader, fixed_batch
from core.data.white import with_white
from core.errors import UserError
from families import FAMILIES

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 12, 8, 3), dtype=np.uint8)
DEPTH = RNG.integers(0, 4001, (6, 12, 8), dtype=np.uint16)
MASK = RNG.integers(0, 3, (6, 12, 8), dtype=np.uint8)
A = ["rgb/", {"path": "depth/", "white": 4000}, {"path": "mask/", "labels": 3}]


def write(root: Path, *, splits: bool = False) -> Path:
    """`rgb/ depth/ mask/` of six scenes; with splits two of them are for testing."""
    for name, images in (("rgb", RGB), ("depth", DEPTH), ("mask", MASK)):
        for i, image in enumerate(images):
            folder = root / name / ("test" if i > 3 else "train") if splits else root / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
    return root


def config_of(root: Path, family: str = "pix2pix", **values: Any) -> Any:
    model = values.pop("model", {})
    sizes = {"load_size": 12, "crop_size": 12, "preprocess": "none", "num_workers": 0}
    data = {"root": str(root), "a": A, "b": "rgb", "flip": False, **sizes, **values}
    tree = {"family": family, "data": data, "model": model}
    return with_inputs(validate(FAMILIES[family].Config, tree))


def loader_of(config: Any, split: str = "train", **values: Any) -> Any:
    call: Any = {"layout": "paired", "batch_size": 1, "seed": 0, "shuffle": False}
    return build_loader(config.data, split=split, channels=config.channels, **{**call, **values})


def test_inputs_are_stacked_by_name_and_the_model_follows(tmp_path: Path) -> None:
    config = config_of(write(tmp_path))
    assert config.channels == (7, 3)
    batch = next(loader_of(config)).to(torch.device("cpu"))
    assert batch.names_a == ("rgb/0.png",)
    rgb = torch.from_numpy(RGB[0]).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(batch.a[0, :3], rgb)
    torch.testing.assert_close(batch.b[0], rgb)
    torch.testing.assert_close(batch.a[0, 3], torch.from_numpy(DEPTH[0] / 2000 - 1).float())
    assert torch.equal((batch.a[0, 4:] > 0).long().argmax(0), torch.from_numpy(MASK[0]).long())
    assert set(batch.a[0, 4:].unique().tolist()) == {-1.0, 1.0}
    again = with_inputs(validate(FAMILIES["pix2pix"].Config, config.model_dump(mode="json")))
    assert again == config, "a checkpoint knows its inputs"


def test_splits_and_shares_of_them(tmp_path: Path) -> None:
    config = config_of(write(tmp_path / "whole"), val_fraction=0.34)
    train, test = (
        {name for _ in range(number) for name in next(loader).names_a}
        for loader, number in ((loader_of(config), 4), (loader_of(config, "test"), 2))
    )
    assert len(train) == 4 and len(test) == 2 and not train & test
    config = config_of(write(tmp_path / "split", splits=True))
    assert fixed_batch(config.data, layout="paired", channels=(7, 3), num_images=2).names_a == (
        "rgb/test/4.png",
        "rgb/test/5.png",
    )
    named = config_of(tmp_path / "split", a="rgb/{split}", b="mask/{split}")
    assert next(loader_of(named, "test")).names_b == ("mask/test/4.png",)
    shutil.rmtree(tmp_path / "split" / "mask" / "test")
    for name in ("rgb", "depth"):
        shutil.move(tmp_path / "split" / name / "test", tmp_path / name)
    assert fixed_batch(config.data, layout="paired", channels=(7, 3), num_images=1).names_a == (
        "rgb/train/0.png",
    )
    with pytest.raises(UserError, match=r"rgb/: there are training pictures and none for testing"):
        loader_of(config, "test")
    assert (
        len({next(loader_of(config_of(tmp_path / "split", val_fraction=0.3), "test")).names_a}) == 1
    )


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_stacks_are_cached(tmp_path: Path, cache: str) -> None:
    plain, kept = (loader_of(config_of(write(tmp_path), cache=c)) for c in ("none", cache))
    for _ in range(13):
        assert torch.equal(next(plain).a, next(kept).a)


def test_directions_unpaired_data_and_other_families(tmp_path: Path) -> None:
    write(tmp_path)
    assert config_of(tmp_path, direction="BtoA").channels == (3, 7)
    batch = next(loader_of(config_of(tmp_path, direction="BtoA")))
    assert batch.a.shape[1] == 3 and batch.b.shape[1] == 7
    cycle = config_of(tmp_path, "cyclegan", a=["rgb/", {"path": "depth", "white": 4000}])
    assert cycle.channels == (4, 3)
    assert next(loader_of(cycle, layout="unpaired")).a.shape[1] == 4
    assert config_of(tmp_path, "munit", a=["rgb", "rgb"]).channels == (6, 3)
    gray = config_of(tmp_path, "dcgan", a="mask", b=[], model={"nc": 1}, crop_size=16)
    assert next(loader_of(gray, layout="single")).images.shape[1] == 1


def test_white_is_measured_for_each_input_and_kept(tmp_path: Path) -> None:
    depth = {"path": "depth/"}
    config = config_of(write(tmp_path), a=["rgb/", depth, {"path": "mask", "labels": 3}],
                       b=depth, white="auto", model={})  # fmt: skip
    config = with_white(config, "paired")
    span = (float(DEPTH.min()), float(DEPTH.max()))
    assert [given.white for given in config.data.a] == [None, span, None]
    assert config.data.spans == (None, span) and config.data.white is None
    (tmp_path / "depth" / "0.png").unlink()
    again = config_of(tmp_path, a=["rgb/", depth, {"path": "mask", "labels": 3}], b=depth,
                      white="auto")  # fmt: skip
    assert with_white(again, "paired", config.model_dump(mode="json")).data == config.data


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(
        UserError, match=r"model\.input_nc: 5, but data\.a has 7 channels; leave it"
    ):
        config_of(tmp_path, model={"input_nc": 5})
    with pytest.raises(UserError, match=r"tags: go with the images of root"):
        config_of(tmp_path, "dcgan", b=[], crop_size=16, tags="tags.csv")
    with pytest.raises(UserError, match=r"a and b: give both"):
        config_of(tmp_path, b=[])
    with pytest.raises(UserError, match=r"holds class 2, but labels: 2 has 0 to 1"):
        next(loader_of(config_of(tmp_path, a={"path": "mask", "labels": 2})))
    with pytest.raises(UserError, match=r"holds colours, but class numbers are wanted"):
        next(loader_of(config_of(tmp_path, a={"path": "rgb", "labels": 9})))
    Image.fromarray(DEPTH[0][:6]).save(tmp_path / "depth" / "0.png")
    with pytest.raises(
        UserError, match=r"depth/0\.png: 8 x 8 px, but rgb/0\.png has 8 x 12; inputs"
    ):
        next(loader_of(config_of(tmp_path)))
    (tmp_path / "depth" / "3.png").unlink()
    with pytest.raises(UserError, match=r"pictures have no partner .*3 only in rgb/3\.png"):
        loader_of(config_of(tmp_path, b="mask"))
