"""Turns, zooms and colours of training images: what they are, and whom they reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as published
from PIL import Image
from torch import Tensor

from core.config import validate
from core.data.augment import Augmentation, classes_of
from core.data.loader import Loader, build_loader
from core.errors import UserError
from core.options import DataOptions, Input
from tests.data.image_files import write_image

ALL = {"rotation": 40, "scale": [0.8, 1.5], "brightness": 0.4, "contrast": 0.4}
ALL |= {"saturation": 0.5, "hue": 0.2}


def noise(channels: int, deep: bool, height: int = 9, width: int = 9) -> Any:
    rng = np.random.default_rng(0)
    if deep:
        return (rng.random((channels, height, width)) * 2 - 1).astype(np.float32)
    return rng.integers(0, 256, (channels, height, width), dtype=np.uint8)


def whole(change: Augmentation, image: Any, colours: bool = True, classes: Any = ()) -> Any:
    _, height, width = image.shape
    return change.cut(image, slice(0, height), slice(0, width), classes=classes, colours=colours)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 5])
def test_a_quarter_turn_is_counterclockwise(channels: int, deep: bool) -> None:
    image = noise(channels, deep)
    turned = whole(Augmentation(turn=90), image, colours=False)
    assert turned.dtype == image.dtype
    np.testing.assert_allclose(turned, np.rot90(image, axes=(1, 2)), atol=1e-5)


def test_a_zoom_keeps_the_centre_of_the_window() -> None:
    y, x = np.mgrid[:40, :60].astype(np.float32) / 60 - 0.5
    rows, columns = slice(10, 21), slice(20, 41)
    window = Augmentation(zoom=2).cut(np.stack([y, x]), rows, columns, classes=(), colours=False)
    np.testing.assert_allclose(window[0, :, 0], (15 + np.arange(-5, 6) / 2) / 60 - 0.5, atol=1e-6)
    np.testing.assert_allclose(window[1, 0], (30 + np.arange(-10, 11) / 2) / 60 - 0.5, atol=1e-6)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_are_torchvisions(name: str) -> None:
    image = noise(4, deep=False) // 2 + 60  # nothing is cut off
    changed = whole(Augmentation(**{name: 1.3}), image)
    expected = getattr(published, f"adjust_{name}")(torch.from_numpy(image[:3]), 1.3)
    assert np.abs(changed[:3].astype(int) - expected.numpy().astype(int)).max() <= 1
    assert np.array_equal(changed[3], image[3]), "alpha stays"
    deep = whole(Augmentation(**{name: 1.3}), image / np.float32(127.5) - np.float32(1))
    assert np.abs((deep + 1) * 127.5 - changed).max() < 0.51


def test_hue_keeps_gray_and_luminance() -> None:
    image = noise(3, deep=True) * np.float32(0.2)
    changed = whole(Augmentation(hue=0.5), image)
    luminance = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(
        *(np.tensordot(luminance, x, 1) for x in (changed, image)), atol=1e-6
    )
    assert np.abs(changed - image).mean() > 0.1
    gray = np.repeat(image[:1], 3, 0)
    np.testing.assert_allclose(whole(Augmentation(hue=0.3, saturation=2), gray), gray, atol=1e-6)


def test_classes_stay_all_or_none() -> None:
    inputs = (Input(path="rgb", channels=3), Input(path="map", labels=4))
    classes = classes_of(inputs)
    hot = np.eye(4, dtype=np.uint8)[noise(1, deep=False)[0] % 4].transpose(2, 0, 1) * 255
    image = np.concatenate([noise(3, deep=False), hot])
    turned = whole(Augmentation(turn=31, zoom=0.7), image, colours=False, classes=classes)
    assert set(np.unique(turned[3:])) == {0, 255} and (turned[3:].sum(0, dtype=int) == 255).all()
    assert len(np.unique(turned[:3])) > 50


def loader(root: Path, changes: dict[str, Any], **how: Any) -> Loader:
    given = {"layout": "unpaired", "split": "train", "channels": (3, 3), "seed": 1} | how
    data = {"root": str(root), "load_size": 14, "crop_size": 12, "num_workers": 0}
    options = DataOptions.model_validate(data | {"augment": changes} | given.pop("data", {}))
    return build_loader(options, batch_size=2, **given)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augment")
    for i in range(3):
        for domain in "AB":
            write_image(folder / f"train{domain}" / f"{i}.png", 20, 16, seed=10 * i + ord(domain))
        half = Image.open(write_image(folder / "x.png", 16, 16, seed=i))
        twice = Image.fromarray(np.concatenate([np.asarray(half)] * 2, 1))
        (folder / "pairs" / "train").mkdir(parents=True, exist_ok=True)
        twice.save(folder / "pairs" / "train" / f"{i}.png")
    return folder


def differs(x: Tensor, y: Tensor) -> bool:
    return bool((x.float() - y.float()).abs().mean() > 4)


def test_pairs_change_alike_but_for_chosen_colours(root: Path) -> None:
    paired = {"layout": "paired"}
    plain, both, one = (
        next(loader(root / "pairs", augment, **paired))
        for augment in ({}, ALL, ALL | {"color_domains": "A"})
    )
    assert torch.equal(both.a, both.b) and differs(both.a, plain.a)
    assert torch.equal(one.a, both.a) and differs(one.a, one.b)
    geometry = {"rotation": 40, "scale": [0.8, 1.5]}
    assert torch.equal(next(loader(root / "pairs", geometry, **paired)).b, one.b)


def test_options_shift_no_other_numbers_and_resume_to_the_bit(root: Path) -> None:
    plain, changed = loader(root, {}), loader(root, {"hue": 0.3, "color_domains": "B"})
    for _ in range(3):
        ours, theirs = next(changed), next(plain)
        assert torch.equal(ours.a, theirs.a) and ours.names_b == theirs.names_b
        assert differs(ours.b, theirs.b)
    unbroken, resumed = loader(root, ALL), loader(root, ALL, data={"num_workers": 1})
    next(unbroken)
    resumed.load_state_dict(unbroken.state_dict())
    ours, theirs = next(resumed), next(unbroken)
    resumed.close()
    assert torch.equal(ours.a, theirs.a) and torch.equal(ours.b, theirs.b)
    quiet = (next(loader(root, changes, augment=False)) for changes in ({}, ALL))
    assert torch.equal(*(batch.a for batch in quiet)), "testing changes nothing"


@pytest.mark.parametrize(
    ("augment", "channels", "said"),
    [
        ({"hue": 0.1}, (5, 3), "A has 5 bands"),
        ({"hue": 0.1, "color_domains": "B"}, (3, 2), "B has 2 bands"),
        ({"saturation": 0.1}, (1, 1), "gray images have no saturation"),
        ({"scale": [1.5, 1.0]}, (3, 3), "smaller factor first"),
        ({"scale": [0.1, 1.0]}, (3, 3), "scale"),
        ({"color_domains": "A"}, (3, 3), "no colour is to change"),
        ({"contrast": 1.0}, (3, 3), "contrast"),
    ],
)
def test_refusals(root: Path, augment: Any, channels: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        validate(DataOptions, {"root": "x", "augment": augment})
        loader(root, augment, channels=channels)
