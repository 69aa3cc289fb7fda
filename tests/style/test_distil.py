"""Training the student: what it is shown, that it learns, and the file that comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from core.checkpoints import store
from core.config import validate
from core.convert.official import export_official, import_official, inference_state
from core.family import SampleBatch
from core.nn.student import WEIGHTS, VGGStudent
from core.nn.vgg import VGG
from core.training.update import Updater
from families import FAMILIES, OFFICIAL
from style.distil.config import Config
from style.distil.family import NAMES, Distillation
from style.distil.views import painted, views
from style.losses import gram_matrices


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distillation:
    """With a teacher of random weights, and two pictures to take its axes from."""
    for number in range(2):
        values = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(values).resize((48, 40)).save(tmp_path / f"{number}.png")

    def random_weights(vgg: VGG, *_: Any) -> None:
        torch.manual_seed(5)
        for layer in vgg.features:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)

    monkeypatch.setattr("style.distil.family.load_vgg", random_weights)
    torch.manual_seed(0)
    tree = {"family": "vgg_student", "data": {"root": str(tmp_path)}, "model": {"side": 32}}
    tree |= {"optim": {"lr": 5e-5}}
    return Distillation.build(validate(Config, tree))


def batch(num: int = 4) -> SampleBatch:
    coarse = torch.rand(num, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(-1, 1)
    return SampleBatch(images, ("",) * num, ("",) * num)


def test_it_learns_what_the_teacher_sees(family: Distillation) -> None:
    update, images, terms = Updater("cpu", list(family.networks.values())), batch(), []
    for _ in range(12):
        update.begin()
        terms.append(family.training_step(images, 0, update))
        update.finish()
    assert all(value.isfinite() for value in terms[-1].values())
    assert terms[-1]["total"] < terms[0]["total"] < 0.1 * 2 * len(NAMES)  # 1 each: knows nothing
    columns = family.preview(images)
    assert all(column.shape == images.images.shape for column in columns.values())


def test_axes_keep_distances_of_gram_matrices(family: Distillation) -> None:
    """As far as the leading axes go; of all of them it would be exact."""
    family.begin(torch.device("cpu"))
    seen = family.see(batch().images)
    ours, theirs = gram_matrices(family.axes(seen)), gram_matrices(seen)
    for name in ("relu1_1", "relu3_1"):
        found, wanted = ((gram[name][0] - gram[name][1]).square().mean() for gram in (ours, theirs))
        torch.testing.assert_close(found, wanted, rtol=0.25, atol=0)


def test_views_and_painted_pictures_follow_from_the_generator(family: Distillation) -> None:
    images = batch().images
    first, again, other = (
        views(images, 32, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.equal(again) and not first.equal(other)
    assert first.shape == (4, 3, 32, 32) and first.abs().max() <= 1
    student = VGGStudent.load()
    moved = painted(student, first, torch.Generator().manual_seed(0))
    change = (moved - first).square().mean((1, 2, 3)).sqrt()
    assert (change > 0.01).all() and change[::2].max() < 0.3


def test_release_goes_out_and_comes_back(tmp_path: Path, family: Distillation) -> None:
    checkpoint = tmp_path / "run.pt"
    family.student.load_state_dict(VGGStudent.load().state_dict())
    store.save(inference_state(family, 3), checkpoint)
    (file,) = export_official(checkpoint, tmp_path / "out", FAMILIES, OFFICIAL)
    theirs = load_file(WEIGHTS)
    assert file.name == WEIGHTS.name and all(v.equal(theirs[k]) for k, v in load_file(file).items())
    kind, module = FAMILIES["vgg_student"], OFFICIAL["vgg_student"]
    path, _ = import_official(file, tmp_path / "back.pt", kind, module, "AtoB")
    assert store.load(path)["networks"]["student"].keys() == theirs.keys()
