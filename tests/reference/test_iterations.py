"""Whole training iterations of three families: losses, gradients, and weights after each step.

Weights pass through `official.py`, the update through `core.training.update.Updater`. In float64
everything is compared sharply; in float32 within the bounds that the case states.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

import cyclegan.cut.official
import cyclegan.official
import pix2pix.official
from core.checkpoints.official_layout import load_official, to_official
from core.config import validate
from core.family import ImageBatch
from core.training.update import Updater
from cyclegan.cut.family import CUT
from cyclegan.family import CycleGAN
from pix2pix.family import Pix2Pix
from tests.reference.cases import Case, DropoutMasks, agree, each, no_initial_weights
from tests.reference.cut_draws import Draws
from tests.reference.training import (
    Iteration,
    Watch,
    at_least,
    changes_agree,
    every_dtype,
    further_iterations,
    gradients_agree,
    in_both_precisions,
    norms_of,
    numbers_agree,
    weights_agree,
    zero_keys,
)

FAMILIES: dict[str, Any] = {"cut": CUT, "cyclegan": CycleGAN, "pix2pix": Pix2Pix}
OFFICIAL: dict[str, Any] = {
    "cut": cyclegan.cut.official,
    "cyclegan": cyclegan.official,
    "pix2pix": pix2pix.official,
}
LOSS_OPTIONS = {
    "cut": (
        "gan_mode", "lambda_GAN", "lambda_NCE", "nce_idt", "nce_layers", "nce_T", "num_patches",
        "nce_includes_all_negatives_from_minibatch", "netF", "netF_nc", "flip_equivariance",
    ),
    "cyclegan": ("gan_mode", "lambda_A", "lambda_B", "lambda_identity", "pool_size"),
    "pix2pix": ("gan_mode", "lambda_L1", "pool_size"),
}  # fmt: skip
ADAM_OPTIONS = ("lr", "beta1", "beta2", "eps", "weight_decay")


@dataclass
class Bounds:
    """How close is close; defaults for float64."""

    losses: float = 1e-8
    arrays: dict[str, float] = field(default_factory=dict)
    gradients: float = 1e-8
    zero_gradient: float = 1e-9
    value_norm: float = 1e-9
    value_sum_per_root: float = 1e-8
    delta_norm: float = 1e-7


def bounds(case: Case, dtype: torch.dtype) -> Bounds:
    if dtype == torch.float64:
        return Bounds()
    stated = case.data["tolerance"]
    seen = stated.get("measured_float32_cpu", {}).get
    after, delta = stated["after_step"], stated["step_delta"]
    per_root = "after_step_sum_max_abs_per_sqrt_element"
    return Bounds(
        losses=at_least(stated["losses"]["rtol"], seen("losses_max_rel")),
        arrays={
            "rtol": stated["arrays"]["rtol"],
            "atol": at_least(stated["arrays"]["atol"], seen("arrays_max_abs")),
        },
        gradients=at_least(stated["grad_l2"]["rtol"], seen("grad_l2_max_rel")),
        zero_gradient=1e-3,
        value_norm=at_least(after["l2_rtol"], seen("after_step_l2_max_rel")),
        value_sum_per_root=at_least(after["sum_atol_per_sqrt_element"], seen(per_root)),
        delta_norm=at_least(delta["l2_rtol"], seen("step_delta_l2_max_rel")),
    )


@no_initial_weights()
def build(case: Case, dtype: torch.dtype) -> Any:
    """The family with the case's weights and options."""
    # The file of CUT's F does not tell which layers it is for.
    told = {name: case.weights(name) for name in case.data["spec"] if name != "F"}
    read = OFFICIAL[case.family].from_official(told, source=case.folder)
    hyper, tree = case.hyper, read.config.model_dump(mode="json")
    generator = next(name for name in case.data["networks"] if name.startswith("G"))
    # A U-Net's keys do not tell whether it was trained with dropout.
    tree["model"]["dropout"] = case.describe(generator)["dropout"]
    tree["model"] |= {key: hyper[key] for key in LOSS_OPTIONS[case.family] if key in hyper}
    tree["optim"] |= {key: hyper[key] for key in ADAM_OPTIONS}
    family = FAMILIES[case.family].build(validate(type(read.config), tree))
    for name, network in family.networks.items():
        load_official(network, case.weights(name), name, case.folder)
        network.to(dtype).train()
    return family


class Runner:
    """Runs iterations on real_A, real_B; then real_A_2, real_B_2; and so on."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.case, self.dtype, self.family = case, dtype, build(case, dtype)
        networks = list(self.family.networks.values())
        self.watch, self.masks = Watch(self.family), DropoutMasks(case)
        self.update, self.networks = Updater("cpu", networks), networks
        self.outputs: dict[str, Tensor] = {}
        self.draws = Draws(case, self.family) if isinstance(self.family, CUT) else None
        if isinstance(self.family, CycleGAN):
            original = self.family.forward

            def forward(real_A: Tensor, real_B: Tensor) -> Any:
                result = original(real_A, real_B)
                images = {k: v.detach() for k, v in vars(result).items() if v is not None}
                self.outputs.update(images)
                return result

            self.family.forward = forward  # type: ignore[method-assign]
        elif isinstance(self.family, CUT):
            generate = self.family.generate

            def generated(*images: Tensor) -> Any:
                fakes, seen = generate(*images)
                names = ("fake_B", "idt_B")[: len(fakes)]
                self.outputs |= {n: fake.detach() for n, fake in zip(names, fakes, strict=True)}
                return fakes, seen

            self.family.generate = generated  # type: ignore[method-assign]
        else:
            self.family.networks["G"].register_forward_hook(
                lambda _module, _inputs, output: self.outputs.update(fake_B=output.detach())
            )

    def run(self, number: int) -> Iteration:
        suffix = "" if number == 1 else f"_{number}"
        a, b = (self.case.input(f"real_{domain}{suffix}", self.dtype) for domain in "AB")
        self.masks.begin_iteration(number)
        if self.draws:
            self.draws.begin_iteration(number)
        self.update.begin()
        with self.masks.of(*self.networks), self.draws.given() if self.draws else nullcontext():
            batch = ImageBatch(a, b, ("",) * len(a), ("",) * len(b))
            terms = self.family.training_step(batch, number, self.update)
        self.update.finish()
        done = self.watch.iteration(terms, self.outputs)
        if self.draws:
            done.per_layer = dict(self.draws.per_layer)
        return done


@cache
def run(case: Case) -> dict[torch.dtype, list[Iteration]]:
    """Every iteration that the case has inputs for; kept, because several tests look at it."""
    number = sum(name.partition("real_A")[0] == "" for name in case.data["inputs"])
    return in_both_precisions(lambda dtype: Runner(case, dtype), number)


every_iteration = each("cut_iteration", "cyclegan_iteration", "pix2pix_iteration")


def tables(golden: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A golden table of lists without the notes in it; empty where there is none."""
    return {key: row for key, row in golden.get(name, {}).items() if isinstance(row, list)}


def assert_terms(ours: dict[str, float], golden: dict[str, float], rel: float) -> None:
    assert ours.keys() <= golden.keys()
    # A term of weight zero is not computed.
    numbers_agree(dict.fromkeys(golden, 0.0) | ours, golden, rel=rel)


@every_iteration
def test_architecture_is_the_described_one(case: Case) -> None:
    family = build(case, torch.float32)
    assert family.networks.keys() == case.data["spec"].keys()
    for name, network in family.networks.items():
        shapes = {key: list(value.shape) for key, value in to_official(network).items()}
        assert shapes == case.data["spec"][name]


@every_iteration
@every_dtype
def test_losses(case: Case, dtype: torch.dtype) -> None:
    limits = bounds(case, dtype)
    first = run(case)[dtype][0]
    assert_terms(first.terms, case.data["losses"], limits.losses)
    numbers_agree(first.per_layer, tables(case.data, "nce_per_layer"), rel=limits.losses)


@every_iteration
@every_dtype
def test_output_images(case: Case, dtype: torch.dtype) -> None:
    given = case.data.get("input_arrays", {})
    golden = {name: array for name, array in case.arrays.items() if name not in given}
    agree(run(case)[dtype][0].outputs, golden, **bounds(case, dtype).arrays)


@every_iteration
@every_dtype
def test_gradients(case: Case, dtype: torch.dtype) -> None:
    limits = bounds(case, dtype)
    ours = {name: tables[0] for name, tables in run(case)[dtype][0].gradients.items()}
    golden = case.data["grad_l2"]
    assert ours.keys() == golden.keys()
    gradients_agree(case, ours, golden, rel=limits.gradients, nothing=limits.zero_gradient)


@every_iteration
@every_dtype
def test_weights_after_the_step(case: Case, dtype: torch.dtype) -> None:
    limits, rate = bounds(case, dtype), case.hyper["lr"]
    first, golden = run(case)[dtype][0], case.data["step_delta"]
    weights_agree(
        case,
        first.values,
        case.data["after_step"],
        rel=limits.value_norm,
        per_root=limits.value_sum_per_root,
        drift=rate,
        extra=2 * rate if dtype == torch.float32 else 0.0,
    )
    changes_agree(case, first.deltas, norms_of(golden), rel=limits.delta_norm, drift=rate)
    if dtype == torch.float64:
        weights_agree(
            case,
            first.deltas,
            golden,
            rel=limits.delta_norm,
            per_root=limits.value_sum_per_root,
            drift=2 * rate,
        )


@every_iteration
@every_dtype
def test_further_iterations(case: Case, dtype: torch.dtype) -> None:
    limits = bounds(case, dtype)
    for number, golden in further_iterations(case).items():
        ours = run(case)[dtype][number - 1]
        assert_terms(ours.terms, golden["losses"], max(1e-7, limits.losses))
        per_layer = tables(golden, "nce_per_layer")
        numbers_agree(ours.per_layer, per_layer, rel=max(1e-7, limits.losses))
        changes = norms_of(ours.deltas)
        if dtype == torch.float64:  # of a small tensor a few elements that step otherwise decide
            expected, drift = norms_of(golden["delta_from_start"]), 2 * number * case.hyper["lr"]
            changes_agree(case, ours.deltas, expected, rel=limits.delta_norm, drift=drift)
        trained = {
            name: set(tables[0]) - zero_keys(case, name) for name, tables in ours.gradients.items()
        }
        totals = {
            name: sum(changes[name][key] ** 2 for key in keys) ** 0.5
            for name, keys in trained.items()
        }
        numbers_agree(totals, golden["total_delta_l2"], rel=limits.delta_norm)
