"""DCGAN as a family: options, steps of every objective, sampling, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.config import validate
from core.errors import UserError
from core.family import GenerativeFamily, SampleBatch, TranslationFamily
from core.training.update import Updater
from dcgan.config import Config
from dcgan.family import DCGAN
from dcgan.losses import adversarial_loss
from dcgan.official import files, from_official, to_files

WORDS = {"hair": ["blue", "red"], "eyes": ["blue", "green", "red"]}
TEXT: dict[str, Any] = {"projection_dim": 4, "vocabulary": WORDS}


def make(train: dict[str, Any] | None = None, **model: Any) -> DCGAN:
    torch.manual_seed(0)
    tree = {
        "family": "dcgan",
        "data": {"root": "nowhere", "load_size": 16, "crop_size": 16},
        "model": {"nz": 6, "ngf": 4, "ndf": 4} | model,
        "train": train or {},
    }
    if "text" in model:
        tree["data"]["tags"] = "tags.csv"
    family = DCGAN.build(validate(Config, tree))
    for network in family.networks.values():
        network.train()
    return family


def batch(number: int = 4) -> SampleBatch:
    images = torch.rand(number, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return SampleBatch(images, ("",) * number, ("blue hair red eyes", "red hair blue eyes") * 2)


VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "lsgan": {"objective": "lsgan"},
    "pearson": {"objective": "lsgan", "fake_label": [-1.0, -1.0], "gen_label": 0.0},
    "soft": {"real_label": [0.7, 1.0], "fake_label": [0.0, 0.3]},
    "untipped": {"output": "sigmoid", "slope_dis": 0.0},
    "leaky": {"slope_gen": 0.2},
    "text": {"text": TEXT},
    "interpolated": {"text": TEXT | {"interpolation": 1.0}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_every_variant(variant: str) -> None:
    family = make(**VARIANTS[variant])
    assert isinstance(family, GenerativeFamily) and not isinstance(family, TranslationFamily)
    before = {n: [p.clone() for p in net.parameters()] for n, net in family.networks.items()}
    terms = family.training_step(batch(), 0, Updater())
    losses = {"D_real", "D_fake", "G", "D", "score_real", "score_fake"}
    losses |= {"D_wrong"} if "text" in VARIANTS[variant] else set()
    assert terms.keys() == losses
    assert all(term.isfinite() and not term.requires_grad for term in terms.values())
    parts = [terms[name] for name in terms if name.startswith("D_")]
    torch.testing.assert_close(terms["D"], torch.stack(parts).sum())
    for name, network in family.networks.items():
        for old, new in zip(before[name], network.parameters(), strict=True):
            assert not torch.equal(old, new), name
            assert new.requires_grad


def test_the_discriminator_is_not_touched_by_the_generators_update() -> None:
    family = make()
    seen: list[list[torch.Tensor]] = []

    def update(optimizer: Any, *losses: torch.Tensor) -> None:
        Updater()(optimizer, *losses)
        seen.append([p.detach().clone() for p in family.networks["D"].parameters()])

    family.training_step(batch(), 0, update)
    after_D, after_G = seen
    assert all(torch.equal(x, y) for x, y in zip(after_D, after_G, strict=True))


def test_labels_decide_what_is_minimised() -> None:
    logits = torch.linspace(-3, 3, 7).double().requires_grad_()
    for objective, label, minimum in (("vanilla", 0.8, 1.3863), ("lsgan", -1.0, -1.0)):
        labels = torch.full_like(logits, label)
        loss = adversarial_loss(logits, labels, objective)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient > 0, logits > minimum)


def test_half_precision_losses_are_full() -> None:
    logits = torch.tensor([30.0, -30.0], dtype=torch.bfloat16)
    loss = adversarial_loss(logits, torch.tensor([0.9, 0.1]), "vanilla")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3.0, rel=1e-3)


def test_samples_are_functions_of_their_noise() -> None:
    family = make(text=TEXT)
    vocabulary = family.vocabulary
    assert vocabulary is not None
    noise = family.random_noise(4, torch.Generator().manual_seed(3))
    assert torch.equal(noise, family.random_noise(4, torch.Generator().manual_seed(3)))
    conditions = vocabulary.encode(["red hair red eyes"]).expand(4, -1)
    family.networks["G"].eval()
    together = family.sample(noise, conditions)
    alone = family.sample(noise[2:3], conditions[:1])
    torch.testing.assert_close(together[2:3], alone)
    other = family.sample(noise, vocabulary.encode(["blue hair red eyes"]).expand(4, -1))
    assert not torch.equal(together, other)


@pytest.mark.parametrize(
    ("noise", "conditions", "message"),
    [
        ((2, 8), (2, 5), r"noise of shape \[2, 8\]: this model takes \[N, 6\]"),
        ((2, 6, 1), (2, 5), r"noise of shape \[2, 6, 1\]"),
        ((2, 6), (2, 4), r"conditions of shape \[2, 4\]: this model takes \[N, 5\]"),
        ((2, 6), None, r"needs conditions \[N, 5\]"),
    ],
)
def test_noise_and_conditions_of_other_shapes(
    noise: tuple[int, ...], conditions: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        given = None if conditions is None else torch.rand(conditions)
        make(text=TEXT).sample(torch.randn(noise), given)


def test_conditions_that_nobody_asked_for() -> None:
    with pytest.raises(UserError, match="trained without captions"):
        make().sample(torch.randn(2, 6), torch.rand(2, 3))


def test_sigmoid_generators_give_the_same_range() -> None:
    images = make(output="sigmoid").sample(torch.randn(4, 6))
    assert images.min() < 0 and images.min() >= -1 and images.max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"real_label": [1.0, 0.7]}}, "smaller bound first"),
        ({"model": {"fake_label": [-1.0, -1.0]}}, r"outside \[0, 1\] are no probabilities"),
        ({"model": {"gen_label": 1.5}}, r"outside \[0, 1\] are no probabilities"),
        ({"model": {"ngf": [8, 4, 2]}}, "3 widths, but images of 16 px take 1"),
        ({"model": {"ngf": []}}, "got \\[\\]"),
        ({"model": {"nc": 4}}, "1 or 3"),
        ({"data": {"crop_size": 20}}, "data.crop_size must be 16, 32, 64"),
        ({"data": {"direction": "BtoA"}}, "AtoB"),
        ({"data": {"tags": "tags.csv"}}, "model.text and data.tags go together"),
        ({"model": {"text": {}}}, "model.text and data.tags go together"),
        ({"train": {"gradient_checkpointing": True}}, "recompute nothing"),
    ],
)
def test_options_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    tree: dict[str, Any] = {
        "family": "dcgan",
        "data": {"root": "x", "load_size": 20, "crop_size": 16},
    }
    for section, values in change.items():
        tree[section] = tree.get(section, {}) | values
    with pytest.raises(UserError, match=message):
        validate(Config, tree)


def test_official_files(tmp_path: Path) -> None:
    family = make()
    written = to_files(family)
    assert written.keys() == {"netG_epoch_24.pth", "netD_epoch_24.pth"}
    for name in (*written, "netG_epoch_9.pth", "other.pth"):
        (tmp_path / name).touch()
    assert files(tmp_path) == {n: tmp_path / f"{n}_epoch_24.pth" for n in ("netG", "netD")}
    assert files(tmp_path / "netD_epoch_24.pth").keys() == {"netD"}
    assert files(tmp_path / "other.pth").keys() == {"netG"}
    with pytest.raises(UserError, match=r"no netG_epoch_<n>\.pth"):
        (tmp_path / "empty").mkdir()
        files(tmp_path / "empty")


def test_official_states_that_do_not_fit() -> None:
    states = {name[:4]: state for name, state in to_files(make()).items()}
    with pytest.raises(UserError, match="holds no generator"):
        from_official({"netD": states["netD"]}, source="x")
    with pytest.raises(UserError, match="not the keys of a DCGAN"):
        from_official({"netG": {"conv.weight": torch.zeros(1, 1, 4, 4)}}, source="x")
    uneven = dict(states["netG"])
    uneven["main.0.weight"] = torch.zeros(6, 9, 4, 4)
    with pytest.raises(UserError, match="twice as many at 4x4"):
        from_official({"netG": uneven}, source="x")
    conditional = {name[:4]: state for name, state in to_files(make(text=TEXT)).items()}
    with pytest.raises(UserError, match="conditions of length 5; give the vocabulary"):
        from_official(conditional, source="x")
    words = {name: tuple(values) for name, values in WORDS.items()}
    back = from_official(conditional, vocabulary=words)
    assert to_files(back)["netG_epoch_24.pth"].keys() == conditional["netG"].keys()
