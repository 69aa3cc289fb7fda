"""A checkpoint as a function of dicts of arrays, sent to other processes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.checkpoints import store
from core.convert.official import inference_state
from core.errors import UserError
from core.inference import batch_function
from core.inference.translator import Translator
from families import load
from tests.small import family

CPU = torch.device("cpu")


def pictures(*sizes: tuple[int, int], channels: int = 3) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]


def test_it_travels_as_an_address_and_loads_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(inference_state(family("cyclegan"), 1), tmp_path / "checkpoints" / "step_1.pt")
    monkeypatch.chdir(tmp_path)
    here = load("checkpoints/step_1.pt", "cpu")
    sent = pickle.dumps(here.batch_function("BtoA"))
    assert len(sent) < 1000
    monkeypatch.chdir("/")
    (image,) = pictures((21, 30))
    there = pickle.loads(sent)
    result = there({"image": image[None], "path": np.array(["a.png"])})
    assert result["path"].tolist() == ["a.png"]
    expected = np.asarray(here(Image.fromarray(image), "BtoA"))
    assert np.array_equal(result["image"][0], expected)
    assert pickle.loads(sent).translator is there.translator
    monkeypatch.setattr(batch_function, "_loaded", {})
    assert pickle.loads(sent).translator is not there.translator
    with pytest.raises(UserError, match="not loaded from a checkpoint"):
        pickle.dumps(Translator(family("cyclegan"), CPU).batch_function())


@pytest.mark.parametrize("name", ["cyclegan", "munit", "pix2pix"])
def test_a_result_does_not_depend_on_its_batch(name: str) -> None:
    model = {"norm": "batch", "dropout": True} if name == "pix2pix" else {}
    work = Translator(family(name, model), CPU).batch_function()
    images = pictures((24, 32), (20, 20), (24, 32), (32, 24))
    column = work({"image": images})["image"]
    for image, result in zip(images, column, strict=True):
        alone = work({"image": image[None]})["image"]
        assert alone.dtype == np.uint8 and alone.shape == (1, *image.shape)
        # Sums of convolutions may be ordered otherwise in a batch, and then round to the next level
        assert np.abs(alone[0].astype(int) - result).max() <= 1
    state = torch.get_rng_state()
    work({"image": images[:1]})
    assert torch.equal(state, torch.get_rng_state())


def test_styles() -> None:
    translator = Translator(family("munit"), CPU)
    (image,) = pictures((24, 32))
    styles = translator.random_styles(2, seed=5)
    first, other = (translator.batch_function("AtoB", code).translate([image]) for code in styles)
    expected = [np.asarray(x) for x in translator.in_styles(Image.fromarray(image), styles, "AtoB")]
    assert np.array_equal([*first, *other], expected)
    assert not np.array_equal(first, other)
    with pytest.raises(UserError, match="style: cyclegan gives an image one translation"):
        Translator(family("cyclegan"), CPU).batch_function(style=styles[0])


def test_gray_alpha_and_what_is_no_picture() -> None:
    work = Translator(family("cyclegan"), CPU).batch_function()
    (gray,) = pictures((20, 24), channels=1)
    clear = np.concatenate([np.repeat(gray, 3, axis=2), np.full_like(gray, 255)], axis=2)
    results = work({"image": [gray, clear, np.repeat(gray, 3, axis=2)]})["image"]
    assert [result.shape[2] for result in results] == [3, 4, 3], "transparency comes back"
    assert all(np.array_equal(result[..., :3], results[0]) for result in results)
    assert work({"image": []})["image"].shape == (0,)
    for wrong in (gray[..., 0], gray / 255):
        with pytest.raises(UserError, match=r"a row is one picture, uint8 \[H, W, C\]"):
            work({"image": [wrong]})
