"""Whole training iterations of both families: losses, gradients, and weights after each step.

Weights pass through `official.py`, the update through `core.training.update.Updater`. In float64
everything is compared sharply; in float32 within the bounds that the case states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cyclegan.official
import pix2pix.official
from core.checkpoints.official_layout import official_names, to_official
from core.config import validate
from core.family import ImageBatch
from core.training.update import Updater
from cyclegan.family import CycleGAN
from pix2pix.family import Pix2Pix
from tests.reference.cases import Case, DropoutMasks, close, each

FAMILIES: dict[str, Any] = {"cyclegan": CycleGAN, "pix2pix": Pix2Pix}
OFFICIAL: dict[str, Any] = {"cyclegan": cyclegan.official, "pix2pix": pix2pix.official}
LOSS_OPTIONS = ("gan_mode", "lambda_A", "lambda_B", "lambda_identity", "lambda_L1", "pool_size")
ADAM_OPTIONS = ("lr", "beta1", "beta2", "eps", "weight_decay")

Norms = dict[str, dict[str, float]]
Summaries = dict[str, dict[str, tuple[float, float]]]
"""{network: {official key: (sum, L2 norm)}}"""


@dataclass
class Iteration:
    """What one iteration gave."""

    terms: dict[str, float]
    outputs: dict[str, Tensor]
    gradients: Norms
    values: Summaries
    deltas: Summaries
    """Of the values after this iteration less the initial ones."""


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
    second_losses: float = 1e-7
    second_delta: float = 1e-7


def bounds(case: Case, dtype: torch.dtype) -> Bounds:
    if dtype == torch.float64:
        return Bounds()
    stated = case.data["tolerance"]
    second = {
        name: stated[f"second_iteration_{key}"]["rtol"]
        for name, key in (("second_losses", "losses"), ("second_delta", "total_delta_l2"))
        if "second_iteration" in case.data
    }
    return Bounds(
        losses=stated["losses"]["rtol"],
        arrays={key: stated["arrays"][key] for key in ("rtol", "atol")},
        gradients=stated["grad_l2"]["rtol"],
        zero_gradient=1e-3,
        value_norm=stated["after_step"]["l2_rtol"],
        value_sum_per_root=stated["after_step"]["sum_atol_per_sqrt_element"],
        delta_norm=stated["step_delta"]["l2_rtol"],
        **second,
    )


def build(case: Case, dtype: torch.dtype) -> Any:
    """The family with the case's weights and options."""
    read = OFFICIAL[case.family].from_official(
        {name: case.weights(name) for name in case.data["spec"]}, source=case.folder
    )
    hyper, tree = case.hyper, read.config.model_dump(mode="json")
    generator = next(name for name in case.data["networks"] if name.startswith("G"))
    # A U-Net's keys do not tell whether it was trained with dropout.
    tree["model"]["dropout"] = case.describe(generator)["dropout"]
    tree["model"] |= {key: hyper[key] for key in LOSS_OPTIONS if key in hyper}
    tree["optim"] |= {key: hyper[key] for key in ADAM_OPTIONS}
    family = FAMILIES[case.family].build(validate(type(read.config), tree))
    for name, network in family.networks.items():
        network.load_state_dict(read.networks[name].state_dict())
        network.to(dtype).train()
    return family


def summarise(states: Mapping[str, Mapping[str, Tensor]]) -> Summaries:
    return {
        name: {k: (v.double().sum().item(), v.double().norm().item()) for k, v in state.items()}
        for name, state in states.items()
    }


def snapshot(family: Any) -> dict[str, dict[str, Tensor]]:
    return {
        name: {key: value.clone() for key, value in to_official(network).items()}
        for name, network in family.networks.items()
    }


def record_gradients(family: Any) -> Norms:
    """A table that each optimizer fills just before it steps."""
    norms: Norms = {name: {} for name in family.networks}
    owners = {
        parameter: (name, {v: k for k, v in official_names(network).items()}[key])
        for name, network in family.networks.items()
        for key, parameter in network.named_parameters()
    }

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name, key = owners[parameter]
                grad = parameter.grad
                norms[name][key] = 0.0 if grad is None else grad.norm().item()

    for optimizer in family.optimizers.values():
        optimizer.register_step_pre_hook(note)
    return norms


def record_outputs(case: Case, family: Any) -> dict[str, Tensor]:
    """A table of the images that the forward of a step gives."""
    outputs: dict[str, Tensor] = {}
    if isinstance(family, CycleGAN):
        original = family.forward

        def forward(real_A: Tensor, real_B: Tensor) -> Any:
            result = original(real_A, real_B)
            outputs.update({k: v.detach() for k, v in vars(result).items() if v is not None})
            return result

        family.forward = forward  # type: ignore[method-assign]
    else:

        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs["fake_B"] = output.detach()

        family.networks["G"].register_forward_hook(note)
    return outputs


def batches(case: Case, dtype: torch.dtype) -> Iterator[ImageBatch]:
    """real_A, real_B; then real_A_2, real_B_2; and so on."""
    suffix, number = "", 1
    while case.has(f"real_A{suffix}"):
        a, b = (case.input(f"real_{domain}{suffix}", dtype) for domain in "AB")
        yield ImageBatch(a, b, ("",) * len(a), ("",) * len(b))
        number += 1
        suffix = f"_{number}"


@cache
def run(case: Case, dtype: torch.dtype) -> list[Iteration]:
    """Every iteration that the case has inputs for; kept, because several tests look at it."""
    family = build(case, dtype)
    gradients, outputs = record_gradients(family), record_outputs(case, family)
    networks = list(family.networks.values())
    update, masks, start = Updater("cpu", networks), DropoutMasks(case), snapshot(family)
    iterations = []
    for number, batch in enumerate(batches(case, dtype), 1):
        masks.begin_iteration(number)
        update.begin()
        with masks.of(*networks):
            terms = family.training_step(batch, number, update)
        update.finish()
        now = {name: to_official(network) for name, network in family.networks.items()}
        deltas = {n: {k: v - start[n][k] for k, v in state.items()} for n, state in now.items()}
        iterations.append(
            Iteration(
                {name: term.item() for name, term in terms.items()},
                dict(outputs),
                {name: dict(norms) for name, norms in gradients.items()},
                summarise(now),
                summarise(deltas),
            )
        )
    return iterations


every_iteration = each("cyclegan_iteration", "pix2pix_iteration")
every_precision = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32], ids=["float64", "float32"]
)


def items(case: Case, table: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, bool]]:
    """(network, key, golden value, whether the true gradient is zero) of a table by network."""
    for name in case.data["spec"]:
        zero = set(case.data.get("zero_gradient_keys", {}).get(name, ()))
        for key, value in table[name].items():
            yield name, key, value, key in zero


def assert_terms(ours: Mapping[str, float], golden: Mapping[str, float], rtol: float) -> None:
    for name, value in golden.items():
        if name in ours:
            assert ours[name] == pytest.approx(value, rel=rtol), name
        else:  # a term of weight zero is not computed
            assert value == 0, name
    assert ours.keys() <= golden.keys()


def numel(case: Case, name: str, key: str) -> int:
    return int(torch.Size(case.data["spec"][name][key]).numel())


@every_iteration
def test_architecture_is_the_described_one(case: Case) -> None:
    family = build(case, torch.float32)
    assert family.networks.keys() == case.data["spec"].keys()
    for name, network in family.networks.items():
        shapes = {key: list(value.shape) for key, value in to_official(network).items()}
        assert shapes == case.data["spec"][name]


@every_iteration
@every_precision
def test_losses(case: Case, dtype: torch.dtype) -> None:
    limits = bounds(case, dtype)
    assert_terms(run(case, dtype)[0].terms, case.data["losses"], limits.losses)


@every_iteration
@every_precision
def test_output_images(case: Case, dtype: torch.dtype) -> None:
    limits, outputs = bounds(case, dtype), run(case, dtype)[0].outputs
    for name, golden in case.arrays.items():
        close(outputs[name], golden, **limits.arrays)


@every_iteration
@every_precision
def test_gradients(case: Case, dtype: torch.dtype) -> None:
    limits, gradients = bounds(case, dtype), run(case, dtype)[0].gradients
    for name, key, golden, zero in items(case, case.data["grad_l2"]):
        if zero:
            assert gradients[name][key] < limits.zero_gradient, (name, key)
        else:
            expected = pytest.approx(golden, rel=limits.gradients, abs=1e-12)
            assert gradients[name][key] == expected, (name, key)


@every_iteration
@every_precision
def test_weights_after_the_step(case: Case, dtype: torch.dtype) -> None:
    limits, values = bounds(case, dtype), run(case, dtype)[0].values
    for name, key, (total, norm), zero in items(case, case.data["after_step"]):
        root = numel(case, name, key) ** 0.5
        our_total, our_norm = values[name][key]
        # Without a true gradient Adam may move each element by up to lr, either way.
        drift = case.hyper["lr"] * root if zero else 0.0
        atol = limits.value_sum_per_root * root + drift * root
        if dtype == torch.float32:
            atol += 2 * case.hyper["lr"]
        assert our_total == pytest.approx(total, rel=1e-9, abs=atol), (name, key)
        assert our_norm == pytest.approx(norm, rel=limits.value_norm, abs=drift), (name, key)


@every_iteration
@every_precision
def test_size_of_the_step(case: Case, dtype: torch.dtype) -> None:
    limits, deltas = bounds(case, dtype), run(case, dtype)[0].deltas
    for name, key, (total, norm), zero in items(case, case.data["step_delta"]):
        root = numel(case, name, key) ** 0.5
        our_total, our_norm = deltas[name][key]
        if zero:
            assert our_norm <= case.hyper["lr"] * root * (1 + 1e-6), (name, key)
            continue
        assert our_norm == pytest.approx(norm, rel=limits.delta_norm, abs=1e-12), (name, key)
        if dtype == torch.float64:
            atol = limits.value_sum_per_root * root
            assert our_total == pytest.approx(total, rel=1e-7, abs=atol), (name, key)


@every_iteration
@every_precision
def test_second_iteration(case: Case, dtype: torch.dtype) -> None:
    if "second_iteration" not in case.data:
        pytest.skip("the case has one iteration")
    second, limits = case.data["second_iteration"], bounds(case, dtype)
    ours = run(case, dtype)[1]
    assert_terms(ours.terms, second["losses"], limits.second_losses)
    squares = dict.fromkeys(case.data["spec"], 0.0)
    for name, key, (_, norm), zero in items(case, second["delta_from_start"]):
        our_norm = ours.deltas[name][key][1]
        if not zero and key in ours.gradients[name]:
            squares[name] += our_norm**2
        if not zero and dtype == torch.float64:
            expected = pytest.approx(norm, rel=limits.second_delta, abs=1e-12)
            assert our_norm == expected, (name, key)
    for name, golden in second["total_delta_l2"].items():
        assert squares[name] ** 0.5 == pytest.approx(golden, rel=limits.second_delta), name
