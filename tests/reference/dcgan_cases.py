"""What the cases of DCGAN say of themselves, as options of ours."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from dcgan.family import DCGAN
from dcgan.official import from_official
from tests.reference.cases import Case, no_initial_weights
from tests.reference.training import NUMBER, float32_bound

SHARP = {"rel": 1e-9, "abs": 1e-12}


def loss_bounds(case: Case, dtype: torch.dtype) -> dict[str, float]:
    """A mean over samples of both signs may be near 0: hence an absolute bound."""
    return SHARP if dtype == torch.float64 else {"rel": float32_bound(case, "losses"), "abs": 1e-6}


def array_bounds(case: Case, dtype: torch.dtype) -> dict[str, float]:
    if dtype == torch.float64:
        return {}
    return {word: float32_bound(case, "arrays", word) for word in ("rtol", "atol")}


def optim(case: Case) -> dict[str, float]:
    """Adam's numbers, which stand in a sentence."""
    text = case.data["hyperparameters"]["optimizer"]
    found = re.search(rf"lr {NUMBER}, betas \({NUMBER}, {NUMBER}\), eps {NUMBER}", text)
    assert found is not None, text
    return dict(zip(("lr", "beta1", "beta2", "eps"), map(float, found.groups()), strict=True))


def _bounds(text: Any) -> list[float]:
    """One label, or "uniform in [low, high]"."""
    numbers = [float(number) for number in re.findall(NUMBER, str(text))]
    return [numbers[0], numbers[-1]]


def model(case: Case) -> dict[str, Any]:
    """Options that state dicts do not tell: slopes, labels, objective, text."""
    hyper = case.data["hyperparameters"]
    options: dict[str, Any] = {
        "slope_dis": hyper.get("leaky slope", 0.2),
        "real_label": _bounds(hyper.get("real labels", hyper.get("real label", 1.0))),
        "fake_label": _bounds(hyper.get("fake labels", hyper.get("fake label", 0.0))),
    }
    if "b (real label)" in hyper:
        assert hyper["factor"] == 0.5, "our LSGAN has the paper's 1/2"
        options["objective"] = "lsgan"
        options["real_label"] = [hyper["b (real label)"]] * 2
        options["fake_label"] = [hyper["a (fake label)"]] * 2
        options["gen_label"] = hyper["c (label the generator aims at)"]
    changed = str(case.data["architecture"].get("same as", ""))
    if "generator" in changed and "LeakyReLU" in changed:
        options["slope_gen"] = hyper["leaky slope"]
    if case.kind == "dcgan_text":
        vocabulary = case.data["vocabulary"]
        options["text"] = {
            "cls_weight": hyper["cls weight"],
            "beta": hyper["interpolation beta"],
            "vocabulary": {name: v for name, v in vocabulary.items() if isinstance(v, list)},
        }
    return options


@no_initial_weights()
def load(case: Case, dtype: torch.dtype, suffix: str = "") -> DCGAN:
    """The family of a case's networks, through the official layout, in train mode."""
    states = {name: case.weights(name + suffix) for name in ("netG", "netD")}
    options = model(case)
    vocabulary = options.get("text", {}).get("vocabulary")
    family = from_official(states, source=case.folder, vocabulary=vocabulary, **options)
    for network in family.networks.values():
        network.to(dtype).train()
    if "optimizer" not in case.data["hyperparameters"]:
        return family
    adam = family.config.optim.model_copy(update=optim(case))
    return DCGAN(family.config.model_copy(update={"optim": adam}), family.networks)


def eight_bit(raw: Tensor) -> Tensor:
    """Pixels 0..255 of a named image, float64 as the rule asks."""
    return ((raw + 1) * 127.5).round()


def real_images(case: Case, iteration: int, dtype: torch.dtype) -> Tensor:
    """The real batch of an iteration, counted from 1."""
    if case.has("raw"):
        return eight_bit(case.input("raw")).to(dtype) / 127.5 - 1
    return case.input(f"real_{iteration}" if case.has(f"real_{iteration}") else "real", dtype)
