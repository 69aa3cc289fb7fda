"""Full training iterations: BCE, LSGAN, the training tips, and GAN-CLS with GAN-INT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from core.checkpoints.official_layout import to_official
from core.family import SampleBatch, to_float
from core.training.update import Updater
from dcgan.family import DCGAN
from dcgan.losses import adversarial_loss
from tests.reference.cases import Case, close, each
from tests.reference.dcgan_cases import (
    eight_bit,
    load,
    num_iterations,
    real_images,
    rtol,
    summary,
    uniform,
)

DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32], ids=["float64", "float32"]
)
SHARP = 1e-9
States = dict[str, dict[str, Tensor]]


@dataclass
class Iteration:
    """What one training step gave."""

    terms: dict[str, float] = field(default_factory=dict)
    gen: list[Tensor] = field(default_factory=list)
    dis: list[Tensor] = field(default_factory=list)
    gradients: dict[str, dict[str, float]] = field(default_factory=dict)
    states: States = field(default_factory=dict)


class Recorder:
    """Runs training steps with named random inputs, and writes down what happens."""

    def __init__(self, case: Case, family: DCGAN, dtype: torch.dtype) -> None:
        self.case, self.family, self.dtype = case, family, dtype
        self.now = Iteration()
        self.start = self.states()
        for name, network in family.networks.items():
            seen = "gen" if name == "G" else "dis"
            network.register_forward_hook(
                lambda _m, _i, output, seen=seen: getattr(self.now, seen).append(output.detach())
            )
        if case.has("label_noise_real"):
            family.draw_labels = self.draw_labels  # type: ignore[method-assign]

    def states(self) -> States:
        return {
            name: {key: value.clone() for key, value in to_official(network).items()}
            for name, network in self.family.networks.items()
        }

    def draw_labels(self, bounds: tuple[float, float], logits: Tensor) -> Tensor:
        model = self.family.config.model
        name = {model.real_label: "real", model.fake_label: "fake"}.get(bounds)
        if name is None:  # the generator's, which is hard
            return DCGAN.draw_labels(self.family, bounds, logits)
        low, high = bounds
        noise = self.case.input(f"label_noise_{name}", self.dtype)
        return low + (high - low) * uniform(noise)

    def update(self, optimizer: Optimizer, *losses: Tensor) -> None:
        Updater()(optimizer, *losses)
        (name,) = (n for n, known in self.family.optimizers.items() if known is optimizer)
        self.now.gradients[name] = {
            key: parameter.grad.double().norm().item()
            for key, parameter in self.family.networks[name].named_parameters()
            if parameter.grad is not None
        }

    def run(self, images: Tensor, noises: list[str], captions: tuple[str, ...]) -> Iteration:
        names = iter(noises)
        self.now = Iteration()

        def draw_noise(num: int, like: Tensor) -> Tensor:
            noise = self.case.input(next(names), self.dtype).flatten(1)
            assert len(noise) == num
            return noise

        self.family.draw_noise = draw_noise  # type: ignore[method-assign]
        batch = SampleBatch(images, ("",) * len(images), captions)
        terms = self.family.training_step(batch, 0, self.update)
        self.now.terms = {name: value.item() for name, value in terms.items()}
        self.now.states = self.states()
        assert next(names, None) is None
        return self.now


@cache
def iterations(case: Case, dtype: torch.dtype) -> tuple[States, list[Iteration]]:
    recorder = Recorder(case, load(case, dtype), dtype)
    done = []
    for number in range(1, num_iterations(case) + 1):
        z = f"z_{number}" if case.has(f"z_{number}") else "z"
        done.append(recorder.run(real_images(case, number, dtype), [z], ()))
    return recorder.start, done


@cache
def text_iteration(case: Case, dtype: torch.dtype, interpolated: bool) -> tuple[States, Iteration]:
    family = load(case, dtype)
    weight = case.data["hyperparameters"]["interpolation weight"] if interpolated else 0.0
    text = family.config.model.text.model_copy(update={"interpolation": weight})
    model = family.config.model.model_copy(update={"text": text})
    family = DCGAN(family.config.model_copy(update={"model": model}), family.networks)
    recorder = Recorder(case, family, dtype)
    captions = case.data["captions"]
    assert family.vocabulary is not None
    right, wrong = (
        family.vocabulary.encode(captions[name]).to(dtype) for name in ("right", "wrong")
    )
    family.conditions = lambda batch: ((right,), (wrong,))  # type: ignore[method-assign]
    noises = ["z_d", "z_int" if interpolated else "z_g"]
    images = real_images(case, 1, dtype)
    return recorder.start, recorder.run(images, noises, tuple(captions["right"]))


def scores(case: Case, iteration: Iteration) -> list[Tensor]:
    """What D said, in the order of its forwards; probabilities unless it is LSGAN's."""
    lsgan = "b (real label)" in case.data["hyperparameters"]
    return [logits if lsgan else logits.sigmoid() for logits in iteration.dis]


def named_losses(case: Case, iteration: Iteration) -> dict[str, float]:
    """Under the names of the cases."""
    terms = iteration.terms
    said = [value.double().mean().item() for value in scores(case, iteration)]
    return {
        "errD_real": terms["D_real"],
        "errD_fake": terms["D_fake"],
        "errD": terms["D"],
        "errG": terms["G"],
        "D_x": terms["score_real"],
        "D_G_z1": terms["score_fake"],
        "D_G_z2": said[2],
    }


def other_labels(case: Case, iteration: Iteration) -> dict[str, float]:
    """The same outputs judged by labels that the case names for comparison."""
    definitions = case.data["loss_definitions"]
    on_real, on_fake, after = (logits.double() for logits in iteration.dis)

    def loss(logits: Tensor, label: float, objective: Any) -> float:
        return adversarial_loss(logits, torch.full_like(logits, label), objective).item()

    values = {
        "errD_real_hard": loss(on_real, 1, "vanilla"),
        "errD_fake_hard": loss(on_fake, 0, "vanilla"),
    }
    if "alt_*" in definitions:
        found = re.search(r"a=(-?[\d.]+), b=(-?[\d.]+), c=(-?[\d.]+)", definitions["alt_*"])
        assert found is not None
        a, b, c = map(float, found.groups())
        values |= {
            "alt_errD_real": loss(on_real, b, "lsgan"),
            "alt_errD_fake": loss(on_fake, a, "lsgan"),
            "alt_errG": loss(after, c, "lsgan"),
        }
    return values


def compare_states(
    case: Case, golden: Mapping[str, Any], states: States, sharp: bool, field_: str
) -> None:
    for name, entries in golden.items():
        assert entries.keys() == states[name[-1]].keys()
        for key, (total, norm) in entries.items():
            value = states[name[-1]][key]
            root = max(1, value.numel()) ** 0.5
            ours = summary(value)
            rel = SHARP if sharp else rtol(case, "after_step_l2")
            loose = SHARP if sharp else rtol(case, field_, word="entries\\):")
            assert ours[1] == pytest.approx(norm, rel=rel, abs=rel), (name, key)
            assert ours[0] == pytest.approx(total, rel=SHARP, abs=loose * root), (name, key)


def compare_deltas(case: Case, start: States, states: States, sharp: bool) -> None:
    for name, entries in case.data["delta_l2"].items():
        for key, norm in entries.items():
            delta = states[name[-1]][key].double() - start[name[-1]][key].double()
            rel = 1e-7 if sharp else rtol(case, "delta_l2")
            assert delta.norm().item() == pytest.approx(norm, rel=rel), (name, key)


def compare_gradients(case: Case, name: str, ours: Mapping[str, float], sharp: bool) -> None:
    golden = case.data["grad_l2"][name]
    assert ours.keys() == golden.keys()
    for key, norm in golden.items():
        rel = 1e-8 if sharp else rtol(case, "grad_l2")
        assert ours[key] == pytest.approx(norm, rel=rel), (name, key)


@each("dcgan_iteration")
@DTYPES
def test_losses(case: Case, dtype: torch.dtype) -> None:
    golden = dict(case.data["losses"])
    _, done = iterations(case, dtype)
    ours = named_losses(case, done[0]) | other_labels(case, done[0])
    for number, iteration in enumerate(done[1:], 2):
        ours |= {f"{k}_{number}": v for k, v in named_losses(case, iteration).items()}
    if case.has("raw"):
        real = real_images(case, 1, dtype).double()
        ours |= {"mean_real": real.mean().item(), "l2_real": real.norm().item()}
    for name, value in golden.items():
        later = re.search(r"_[2-9]$", name) is not None
        rel = SHARP if dtype == torch.float64 else rtol(case, "losses", int(later))
        assert ours[name] == pytest.approx(value, rel=rel), name


@each("dcgan_iteration")
@DTYPES
def test_outputs(case: Case, dtype: torch.dtype) -> None:
    golden = case.arrays
    _, done = iterations(case, dtype)
    said = scores(case, done[0])
    ours = {"fake": done[0].gen[0], "d_real": said[0], "d_fake_1": said[1], "d_fake_2": said[2]}
    if len(done) > 1:
        ours["fake_second"] = done[1].gen[0]
    assert ours.keys() == golden.keys()
    for name, value in ours.items():
        if dtype == torch.float64:
            close(value, golden[name])
        elif name == "fake_second":
            bound = rtol(case, "arrays", word="relative L2 error below")
            error = (value - golden[name]).norm() / golden[name].norm()
            assert error.item() < bound
        else:
            bounds = {"rtol": rtol(case, "arrays"), "atol": rtol(case, "arrays", word="atol")}
            close(value, golden[name], **bounds)


@each("dcgan_iteration")
@DTYPES
def test_gradients_and_weights(case: Case, dtype: torch.dtype) -> None:
    start, done = iterations(case, dtype)
    sharp = dtype == torch.float64
    for name in ("netG", "netD"):
        compare_gradients(case, name, done[0].gradients[name[-1]], sharp)
    compare_states(case, case.data["after_step"], done[0].states, sharp, "after_step_sum")
    compare_deltas(case, start, done[0].states, sharp)
    for number, iteration in enumerate(done[1:], 2):
        golden = case.data[f"after_step_{number}"]
        compare_states(case, golden, iteration.states, sharp, f"after_step_{number}")


@each("dcgan_iteration")
def test_labels_and_normalisation(case: Case) -> None:
    values = dict(case.data.get("values", {}))
    if not values and not case.has("raw"):
        pytest.skip("the case has hard labels and images as they are")
    family = load(case, torch.float64)
    recorder = Recorder(case, family, torch.float64)
    model = family.config.model
    bounds = {"target_real": model.real_label, "target_fake": model.fake_label}
    for name, golden in values.items():
        labels = recorder.draw_labels(bounds[name], torch.zeros(len(golden)))
        assert labels.tolist() == pytest.approx(golden, rel=1e-12)
    pixels = eight_bit(case.input("raw"))
    close(to_float(pixels.to(torch.uint8)), real_images(case, 1, torch.float64))


@each("dcgan_iteration")
def test_random_labels_keep_to_their_range(case: Case) -> None:
    family = load(case, torch.float32)
    for bounds in (family.config.model.real_label, family.config.model.fake_label):
        labels = family.draw_labels(bounds, torch.zeros(4000))
        assert labels.min() >= bounds[0] and labels.max() <= bounds[1]
        width = bounds[1] - bounds[0]
        assert labels.mean().item() == pytest.approx(sum(bounds) / 2, abs=0.02 * width)
        assert labels.std().item() == pytest.approx(width / 12**0.5, rel=0.05)


@each("dcgan_text")
@DTYPES
def test_text_losses_and_outputs(case: Case, dtype: torch.dtype) -> None:
    golden, arrays = dict(case.data["losses"]), case.arrays
    sharp = dtype == torch.float64
    _, plain = text_iteration(case, dtype, interpolated=False)
    _, between = text_iteration(case, dtype, interpolated=True)
    s_r, s_w, s_f, d_fake_g = scores(case, plain)
    ours = {
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
    assert ours.keys() == golden.keys()
    for name, value in golden.items():
        rel = SHARP if sharp else rtol(case, "losses")
        assert ours[name] == pytest.approx(value, rel=rel), name
    outputs = {"fake_d": plain.gen[0], "s_r": s_r, "s_w": s_w, "s_f": s_f, "d_fake_g": d_fake_g}
    outputs["d_fake_int"] = scores(case, between)[3]
    assert outputs.keys() == arrays.keys()
    bounds = (
        {} if sharp else {"rtol": rtol(case, "arrays"), "atol": rtol(case, "arrays", 0, "atol")}
    )
    for name, value in outputs.items():
        close(value, arrays[name], **bounds)


@each("dcgan_text")
@DTYPES
def test_text_gradients_and_weights(case: Case, dtype: torch.dtype) -> None:
    start, plain = text_iteration(case, dtype, interpolated=False)
    _, between = text_iteration(case, dtype, interpolated=True)
    sharp = dtype == torch.float64
    ours = {"netG": plain.gradients["G"], "netD": plain.gradients["D"]}
    ours["netG_int"] = between.gradients["G"]
    for name in case.data["grad_l2"]:
        compare_gradients(case, name, ours[name], sharp)
    compare_states(case, case.data["after_step"], plain.states, sharp, "after_step_sum")
    compare_deltas(case, start, plain.states, sharp)
