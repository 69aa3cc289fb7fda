"""Differentiable augmentation: the official numbers, and every discriminator sees nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from core import losses
from core.config import validate
from core.family import SampleBatch
from core.losses import DiffAug, augmented
from core.training.update import Updater
from families import FAMILIES
from tests.conftest import ROOT
from tests.small import GENERATIVE, SMALL, any_family, batch

OFFICIAL = json.loads((ROOT / "tests" / "diffaug_official.json").read_text())
"""What `DiffAugment_pytorch.py` (mit-han-lab/data-efficient-gans) makes of `IMAGES` and `draws`."""
IMAGES = torch.sin(torch.arange(2 * 3 * 5 * 8.0)).view(2, 3, 5, 8)
DISCRIMINATORS = {"D", "D_A", "D_B", "dis_a", "dis_b", "disA", "disA2", "disB", "disB2"}


@pytest.mark.parametrize("change", ["color", "translation", "cutout"])
def test_the_official_numbers(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(like: Tensor, number: int, length: int) -> Tensor:
        return torch.tensor(OFFICIAL["draws"])[:number, :length]

    monkeypatch.setattr(losses, "uniform", drawn)
    expected = torch.tensor(OFFICIAL[change]).view_as(IMAGES)
    torch.testing.assert_close(augmented(IMAGES, (change,)), expected, rtol=0, atol=2e-6)


def test_images_that_lie_on_each_other_change_alike() -> None:
    changes: DiffAug = ("color", "translation", "cutout")
    once, twice = augmented(torch.cat([IMAGES, IMAGES], 1), changes, (3, 3)).chunk(2, 1)
    assert torch.equal(once, twice)
    assert augmented(IMAGES[:, :1].half(), changes).dtype == torch.float32


@pytest.mark.parametrize("name", [*SMALL, *GENERATIVE])
def test_every_image_that_is_judged_has_a_hole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real or not, in either update: of at least a quarter of each side, if half of it is cut."""
    table = SMALL[name] if name in SMALL else GENERATIVE[name]["model"]
    monkeypatch.setitem(table, "diffaug", ["cutout"])
    family = any_family(name)
    holes: list[float] = []

    def look(network: Any, given: tuple[Tensor, ...]) -> None:
        holes.extend((given[0] == 0).all(1).float().flatten(1).mean(1).tolist())

    judges = [net for key, net in family.networks.items() if key in DISCRIMINATORS]
    for judge in judges:
        judge.register_forward_pre_hook(look)
    images: Any = batch(64 if name in GENERATIVE else 44, 2)
    if name in GENERATIVE:
        images = SampleBatch(images.a, ("x",) * 2, ("blue hair red eyes",) * 2)
    family.training_step(images, 4, Updater())
    assert len(holes) >= 4 * len(judges)
    assert min(holes) >= 1 / 16


def test_images_from_0_to_1_change_as_those_from_minus_1_do() -> None:
    kind, tree = FAMILIES["dcgan"], {"family": "dcgan", "data": {"root": "nowhere"}}
    model = {"ngf": 4, "ndf": 4, "output": "sigmoid", "diffaug": ["color", "cutout"]}
    family: Any = kind.build(validate(kind.Config, tree | {"model": model}))
    torch.manual_seed(0)
    ours = family.augmented((IMAGES + 1) / 2)
    torch.manual_seed(0)
    torch.testing.assert_close(ours * 2 - 1, augmented(IMAGES, ("color", "cutout")))
