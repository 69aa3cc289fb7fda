"""Full training iterations: BCE, LSGAN, the training tips, and GAN-CLS with GAN-INT."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from core.family import SampleBatch, to_float
from core.training.update import Updater
from dcgan.family import DCGAN
from dcgan.losses import adversarial_loss
from tests.reference.cases import Case, agree, close, each
from tests.reference.dcgan_cases import array_bounds, eight_bit, load, loss_bounds, real_images
from tests.reference.training import (
    ORDINALS,
    PER_ROOT,
    Iteration,
    Watch,
    changes_agree,
    every_dtype,
    float32_bound,
    in_both_precisions,
    numbers_agree,
    weights_agree,
)


class Runner:
    """Runs training steps with named random inputs, and writes down what happens."""

    def __init__(self, case: Case, dtype: torch.dtype, text: dict[str, Any] | None = None) -> None:
        self.case, self.dtype, family = case, dtype, load(case, dtype)
        if text:
            options = family.config.model.text.model_copy(update=text)
            model = family.config.model.model_copy(update={"text": options})
            family = DCGAN(family.config.model_copy(update={"model": model}), family.networks)
        self.family, self.watch = family, Watch(family, prefix="net")
        self.seen: dict[str, list[Tensor]] = {"G": [], "D": []}
        for name, network in family.networks.items():
            network.register_forward_hook(
                lambda _m, _i, output, name=name: self.seen[name].append(output.detach())
            )
        if case.has("label_noise_real"):
            family.draw_labels = self.draw_labels  # type: ignore[method-assign]

    def draw_labels(self, bounds: tuple[float, float], logits: Tensor) -> Tensor:
        model = self.family.config.model
        name = {model.real_label: "real", model.fake_label: "fake"}.get(bounds)
        if name is None:  # the generator's, which is hard
            return DCGAN.draw_labels(self.family, bounds, logits)
        low, high = bounds
        normal = self.case.input(f"label_noise_{name}")
        uniform = 0.5 * (1 + torch.erf(normal / 2**0.5))
        return (low + (high - low) * uniform).to(self.dtype)

    def run(self, number: int) -> Iteration:
        """An unconditional iteration, counted from 1."""
        noise = f"z_{number}" if self.case.has(f"z_{number}") else "z"
        return self.step(real_images(self.case, number, self.dtype), iter([noise]), ())

    def step(self, images: Tensor, noises: Iterator[str], captions: tuple[str, ...]) -> Iteration:
        def draw_noise(num: int, like: Tensor) -> Tensor:
            noise = self.case.input(next(noises), self.dtype).flatten(1)
            assert len(noise) == num
            return noise

        self.family.draw_noise = draw_noise  # type: ignore[method-assign]
        self.seen["G"], self.seen["D"] = [], []
        batch = SampleBatch(images, ("",) * len(images), captions)
        terms = self.family.training_step(batch, 0, Updater())
        assert next(noises, None) is None
        lsgan = self.family.config.model.objective == "lsgan"
        scores = {f"score_{i}": x if lsgan else x.sigmoid() for i, x in enumerate(self.seen["D"])}
        logits = {f"logits_{i}": x for i, x in enumerate(self.seen["D"])}
        return self.watch.iteration(terms, {"fake": self.seen["G"][0]} | scores | logits)


def num_iterations(case: Case) -> int:
    return max(1, sum(name.startswith("real_") for name in case.data["inputs"]))


@cache
def iterations(case: Case) -> dict[torch.dtype, list[Iteration]]:
    return in_both_precisions(lambda dtype: Runner(case, dtype), num_iterations(case))


@cache
def text_iteration(case: Case, dtype: torch.dtype, interpolated: bool) -> Iteration:
    weight = case.data["hyperparameters"]["interpolation weight"] if interpolated else 0.0
    runner, captions = Runner(case, dtype, {"interpolation": weight}), case.data["captions"]
    vocabulary = runner.family.vocabulary
    assert vocabulary is not None
    right, wrong = (vocabulary.encode(captions[name]).to(dtype) for name in ("right", "wrong"))
    runner.family.conditions = lambda batch: ((right,), (wrong,))  # type: ignore[method-assign]
    noises = iter(["z_d", "z_int" if interpolated else "z_g"])
    return runner.step(real_images(case, 1, dtype), noises, tuple(captions["right"]))


def named_losses(iteration: Iteration) -> dict[str, float]:
    """Under the names of the cases."""
    terms = iteration.terms
    return {
        "errD_real": terms["D_real"],
        "errD_fake": terms["D_fake"],
        "errD": terms["D"],
        "errG": terms["G"],
        "D_x": terms["score_real"],
        "D_G_z1": terms["score_fake"],
        "D_G_z2": iteration.outputs["score_2"].double().mean().item(),
    }


def other_labels(case: Case, iteration: Iteration) -> dict[str, float]:
    """The same outputs judged by labels that the case names for comparison."""
    on_real, on_fake, after = (iteration.outputs[f"logits_{i}"].double() for i in range(3))

    def loss(logits: Tensor, label: float, objective: Any) -> float:
        return adversarial_loss(logits, torch.full_like(logits, label), objective).item()

    values = {
        "errD_real_hard": loss(on_real, 1, "vanilla"),
        "errD_fake_hard": loss(on_fake, 0, "vanilla"),
    }
    labels = case.data["loss_definitions"].get("alt_*")
    if labels is not None:
        found = re.search(r"a=(-?[\d.]+), b=(-?[\d.]+), c=(-?[\d.]+)", labels)
        assert found is not None
        a, b, c = map(float, found.groups())
        values |= {
            "alt_errD_real": loss(on_real, b, "lsgan"),
            "alt_errD_fake": loss(on_fake, a, "lsgan"),
            "alt_errG": loss(after, c, "lsgan"),
        }
    return values


def compare_gradients(
    case: Case, dtype: torch.dtype, golden: Mapping[str, Any], ours: Mapping[str, Any]
) -> None:
    rel = 1e-8 if dtype == torch.float64 else float32_bound(case, "grad_l2")
    for name, table in golden.items():
        assert ours[name].keys() == table.keys()
    numbers_agree(ours, golden, rel=rel)


def compare_weights(
    case: Case, dtype: torch.dtype, golden: Mapping[str, Any], iteration: Iteration
) -> None:
    for name, table in golden.items():
        assert table.keys() == iteration.values[name].keys()
    sharp = dtype == torch.float64
    rel = 1e-9 if sharp else float32_bound(case, "after_step_l2")
    per_root = 1e-9 if sharp else float32_bound(case, "after_step_sum", PER_ROOT)
    weights_agree(case, iteration.values, golden, rel=rel, per_root=per_root, drift=0.0)


def compare_deltas(case: Case, dtype: torch.dtype, iteration: Iteration) -> None:
    rel = 1e-7 if dtype == torch.float64 else float32_bound(case, "delta_l2")
    changes_agree(case, iteration.deltas, case.data.get("delta_l2", {}), rel=rel, drift=0.0)


@each("dcgan_iteration")
@every_dtype
def test_losses(case: Case, dtype: torch.dtype) -> None:
    done = iterations(case)[dtype]
    ours = named_losses(done[0]) | other_labels(case, done[0])
    for number, iteration in enumerate(done[1:], 2):
        ours |= {f"{k}_{number}": v for k, v in named_losses(iteration).items()}
    if case.has("raw"):
        real = real_images(case, 1, dtype).double()
        ours |= {"mean_real": real.mean().item(), "l2_real": real.norm().item()}
    numbers_agree(ours, case.data["losses"], **loss_bounds(case, dtype))


@each("dcgan_iteration")
@every_dtype
def test_outputs(case: Case, dtype: torch.dtype) -> None:
    ours: dict[str, Tensor] = {}
    for ordinal, iteration in zip(ORDINALS, iterations(case)[dtype], strict=False):
        x = iteration.outputs
        names = {"fake": x["fake"], "d_real": x["score_0"]}
        names |= {"d_fake_1": x["score_1"], "d_fake_2": x["score_2"]}
        ours |= names if ordinal == "first" else {f"{n}_{ordinal}": v for n, v in names.items()}
    agree(ours, case.arrays, **array_bounds(case, dtype))


@each("dcgan_iteration")
@every_dtype
def test_gradients_and_weights(case: Case, dtype: torch.dtype) -> None:
    for number, iteration in enumerate(iterations(case)[dtype], 1):
        ours = {name: tables[0] for name, tables in iteration.gradients.items()}
        ending = "" if number == 1 else f"_{number}"
        compare_gradients(case, dtype, case.data.get(f"grad_l2{ending}", {}), ours)
        compare_weights(case, dtype, case.data.get(f"after_step{ending}", {}), iteration)
        if number == 1:
            compare_deltas(case, dtype, iteration)


@each("dcgan_iteration")
def test_labels_and_normalisation(case: Case) -> None:
    runner = Runner(case, torch.float64)
    model = runner.family.config.model
    bounds = {"target_real": model.real_label, "target_fake": model.fake_label}
    for name, golden in case.data.get("values", {}).items():
        labels = runner.draw_labels(bounds[name], torch.zeros(len(golden)))
        numbers_agree(labels.tolist(), golden, rel=1e-12, at=name)
    if case.has("raw"):
        pixels = eight_bit(case.input("raw"))
        close(to_float(pixels.to(torch.uint8)), real_images(case, 1, torch.float64))


@each("dcgan_iteration")
def test_random_labels_keep_to_their_range(case: Case) -> None:
    torch.manual_seed(0)
    family = load(case, torch.float32)
    for bounds in (family.config.model.real_label, family.config.model.fake_label):
        labels = family.draw_labels(bounds, torch.zeros(4000))
        assert labels.min() >= bounds[0] and labels.max() <= bounds[1]
        width = bounds[1] - bounds[0]
        assert labels.mean().item() == pytest.approx(sum(bounds) / 2, abs=0.02 * width)
        assert labels.std().item() == pytest.approx(width / 12**0.5, rel=0.05)


@each("dcgan_text")
@every_dtype
def test_text_losses_and_outputs(case: Case, dtype: torch.dtype) -> None:
    plain, between = (text_iteration(case, dtype, interpolated) for interpolated in (False, True))
    s_r, s_w, s_f, d_fake_g = (plain.outputs[f"score_{i}"] for i in range(4))
    losses = {
        "errD_real": plain.terms["D_real"],
        "errD_wrong": plain.terms["D_wrong"],
        "errD_fake": plain.terms["D_fake"],
        "errD": plain.terms["D"],
        "errG": plain.terms["G"],
        "errG_int": between.terms["G"],
        "mean_s_r": plain.terms["score_real"],
        "mean_s_w": s_w.mean().item(),
        "mean_s_f": plain.terms["score_fake"],
    }
    numbers_agree(losses, case.data["losses"], **loss_bounds(case, dtype))
    outputs = {"fake_d": plain.outputs["fake"], "s_r": s_r, "s_w": s_w, "s_f": s_f}
    outputs |= {"d_fake_g": d_fake_g, "d_fake_int": between.outputs["score_3"]}
    agree(outputs, case.arrays, **array_bounds(case, dtype))


@each("dcgan_text")
@every_dtype
def test_text_gradients_and_weights(case: Case, dtype: torch.dtype) -> None:
    plain, between = (text_iteration(case, dtype, interpolated) for interpolated in (False, True))
    ours = {name: tables[0] for name, tables in plain.gradients.items()}
    ours["netG_int"] = between.gradients["netG"][0]
    compare_gradients(case, dtype, case.data["grad_l2"], ours)
    compare_weights(case, dtype, case.data["after_step"], plain)
    compare_deltas(case, dtype, plain)
