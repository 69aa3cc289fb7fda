"""Whole training iterations of MUNIT and UNIT: losses, images, gradients, weights after each step.

In float64 everything is compared sharply, in float32 within the bounds that the case states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from core.checkpoints.official_layout import official_names
from core.family import ImageBatch
from core.training.update import Updater
from munit.family import MUNIT
from munit.official import from_official, to_official
from munit.unit import UNIT
from tests.reference.cases import Case, close, each
from tests.reference.munit_cases import batches, dot, family, fill, style

Table = dict[str, dict[str, Any]]
NETWORKS = ("gen_a", "gen_b", "dis_a", "dis_b")
# Published name of a term, without its domain, -> ours and the weight's option.
TERMS = {
    "loss_dis": ("dis", "gan_w"),
    "loss_gen_adv": ("gan", "gan_w"),
    "loss_gen_recon_x": ("recon_x", "recon_x_w"),
    "loss_gen_recon_s": ("recon_s", "recon_s_w"),
    "loss_gen_recon_c": ("recon_c", "recon_c_w"),
    "loss_gen_recon_kl": ("recon_kl", "recon_kl_w"),
    "loss_gen_cycrecon_x": ("recon_x_cyc", "recon_x_cyc_w"),
    "loss_gen_cyc_x": ("recon_x_cyc", "recon_x_cyc_w"),
    "loss_gen_recon_kl_cyc": ("recon_kl_cyc", "recon_kl_cyc_w"),
    "loss_gen_vgg": ("vgg", "vgg_w"),
}
DOMAINS = {"a": "a", "b": "b", "aba": "a", "bab": "b"}


@dataclass
class Iteration:
    """What one iteration gave; tables are {network: {official key: ...}}."""

    terms: dict[str, float]
    values: Table
    deltas: Table


@dataclass
class Run:
    """All iterations, and of the first one the gradients and images."""

    iterations: list[Iteration]
    norms: Table
    dots: Table
    images: dict[str, Tensor]


def summary(value: Tensor) -> tuple[float, float]:
    return value.double().sum().item(), value.double().norm().item()


def states(model: MUNIT | UNIT) -> dict[str, dict[str, Tensor]]:
    """Trained parameters under official names, copied."""
    found = {}
    for name, network in model.networks.items():
        trained = {key for key, _ in network.named_parameters()}
        names = {o: ours for o, ours in official_names(network).items() if ours in trained}
        state = network.state_dict()
        found[name] = {official: state[ours].clone() for official, ours in names.items()}
    return found


def record_first_gradients(model: MUNIT | UNIT) -> tuple[Table, Table]:
    """Tables of norms and directional values that each optimizer fills before its first step."""
    norms: Table = {name: {} for name in NETWORKS}
    dots: Table = {name: {} for name in NETWORKS}
    owners = {
        parameter: (name, {v: k for k, v in official_names(network).items()}[key])
        for name, network in model.networks.items()
        for key, parameter in network.named_parameters()
    }

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            name, key = owners[parameter]
            if key in norms[name]:
                return
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            norms[name][key], dots[name][key] = gradient.norm().item(), dot(key, gradient)

    for optimizer in model.optimizers.values():
        optimizer.register_step_pre_hook(note)
    return norms, dots


def record_outputs(model: MUNIT | UNIT) -> dict[str, list[Tensor]]:
    """{`gen_a.dec` and so on: each output of a forward}, joint ones still together."""
    outputs: dict[str, list[Tensor]] = {}

    def noting(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs.setdefault(path, []).append(output.detach())

        return note

    for name in ("gen_a", "gen_b"):
        for part, module in model.networks[name].named_children():
            module.register_forward_hook(noting(f"{name}.{part}"))
    return outputs


def named_outputs(outputs: dict[str, list[Tensor]], number: int) -> dict[str, Tensor]:
    """The golden arrays' names for what each part gave in the first iteration, `number` images."""
    parts = {path: list(torch.cat(each_).split(number)) for path, each_ in outputs.items()}
    named: dict[str, Tensor] = {}
    for s, t in (("a", "b"), ("b", "a")):
        own = parts[f"gen_{s}.dec"]
        names = (f"x_{t}{s}_dis", f"x_{s}_recon", f"x_{t}{s}", f"x_{s}{t}{s}")
        named |= dict(zip(names, own, strict=False))
        if f"gen_{s}.enc_style" in parts:
            prime, recon = parts[f"gen_{s}.enc_style"][-2:]
            named[f"s_{s}_prime"], named[f"s_{s}_recon"] = (
                each_[..., None, None] for each_ in (prime, recon)
            )
            named[f"c_{s}_first"] = parts[f"gen_{s}.enc_content"][0][:1]
        else:
            named[f"h_{s}_first"] = parts[f"gen_{s}.enc"][0][:1]
    return named


def one_iteration(
    case: Case, model: MUNIT | UNIT, suffix: str, x_a: Tensor, x_b: Tensor, update: Updater
) -> dict[str, Tensor]:
    """With the case's draws."""
    names = ("s_a_dis", "s_b_dis", "s_a", "s_b")
    draw = style
    if isinstance(model, UNIT):
        names = ("n_a_dis", "n_b_dis", "n_a", "n_b", "n_b_recon", "n_a_recon")
        draw = Case.input
    draws = iter([draw(case, name + suffix, x_a.dtype) for name in names])
    batch = ImageBatch(x_a, x_b, (), ())
    with patch(f"{type(model).__module__}.normal", lambda *_: next(draws)):
        return model.training_step(batch, 0, update)


@cache
def run(case: Case, dtype: torch.dtype) -> Run:
    """Every iteration that the case has draws for; kept, because several tests look at it."""
    with TemporaryDirectory() as folder:
        vgg = {}
        if "vgg" in case.data["spec"]:
            path = Path(folder) / "vgg16.weight"
            torch.save(case.weights("vgg"), path)
            vgg = {"vgg_weights": str(path), "vgg_input": "caffe"}
        model = family(case, model=vgg)
        fill(case, model.networks, dtype)
        assert all(network.training for network in model.networks.values())
        norms, dots = record_first_gradients(model)
        outputs = record_outputs(model)
        images: dict[str, Tensor] = {}
        update, start, done = Updater("cpu", list(model.networks.values())), states(model), []
        for suffix, x_a, x_b in batches(case, dtype):
            update.begin()
            terms = one_iteration(case, model, suffix, x_a, x_b, update)
            update.finish()
            images = images or named_outputs(outputs, len(x_a))
            now = states(model)
            done.append(
                Iteration(
                    {name: term.item() for name, term in terms.items()},
                    {n: {k: summary(v) for k, v in s.items()} for n, s in now.items()},
                    {
                        n: {k: summary(v - start[n][k]) for k, v in s.items()}
                        for n, s in now.items()
                    },
                )
            )
    return Run(done, norms, dots, images)


every_iteration = each("iteration_nocyc", "iteration_cyc", "iteration_vgg", "unit_iteration")
every_precision = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32], ids=["float64", "float32"]
)


def assert_terms(case: Case, ours: dict[str, float], golden: dict[str, float], rtol: float) -> None:
    """Published terms are without their weights, and zero where ours are left out."""
    hyper, seen = case.hyper, {"gen"}
    for name, value in golden.items():
        base, _, ending = name.rpartition("_")
        if ending == "total":
            own = ours["gen"] if base == "loss_gen" else ours["dis_a"] + ours["dis_b"]
        else:
            term, option = TERMS[base]
            key = f"{term}_{DOMAINS[ending]}"
            seen.add(key)
            if key not in ours:  # a term of weight zero is not computed
                assert value == 0 or hyper[option] == 0, name
                continue
            own, value = ours[key], value * hyper[option]
        assert own == pytest.approx(value, rel=rtol), name
    assert ours.keys() <= seen


def items(case: Case, table: Table) -> Iterator[tuple[str, str, Any, bool]]:
    """(network, key, golden value, whether the true gradient is zero) of a table by network."""
    for name in NETWORKS:
        zero = set(case.data.get("zero_gradient_keys", {}).get(name, ()))
        for key, value in table[name].items():
            yield name, key, value, key in zero


@every_iteration
def test_architecture_and_official_names(case: Case) -> None:
    read = from_official({name: case.weights(name) for name in NETWORKS}, source=case.folder)
    assert read.name == ("unit" if case.kind.startswith("unit") else "munit")
    for name, network in read.networks.items():
        official = to_official(network)
        shapes = {key: list(value.shape) for key, value in official.items()}
        assert shapes == case.data["spec"][name]
        for key, value in case.weights(name).items():
            if key in official_names(network):
                assert torch.equal(official[key], value)


@every_iteration
@every_precision
def test_losses(case: Case, dtype: torch.dtype) -> None:
    rtol = 1e-9 if dtype == torch.float64 else case.data["tolerance"]["losses"]["rtol"]
    assert_terms(case, run(case, dtype).iterations[0].terms, case.data["losses"], rtol)


@every_iteration
@every_precision
def test_images_and_codes(case: Case, dtype: torch.dtype) -> None:
    stated = case.data["tolerance"]["arrays"]
    bounds = {} if dtype == torch.float64 else {key: stated[key] for key in ("rtol", "atol")}
    images = run(case, dtype).images
    for name, golden in case.arrays.items():
        close(images[name], golden, **bounds)


@every_iteration
@every_precision
def test_gradients(case: Case, dtype: torch.dtype) -> None:
    first = run(case, dtype)
    rtol = 1e-8 if dtype == torch.float64 else case.data["tolerance"]["grad_l2"]["rtol"]
    along = 1e-8 if dtype == torch.float64 else 0.05
    for name, key, golden, zero in items(case, case.data["grad_l2"]):
        if zero:
            assert first.norms[name][key] < (1e-9 if dtype == torch.float64 else 1e-4), (name, key)
            continue
        assert first.norms[name][key] == pytest.approx(golden, rel=rtol, abs=1e-12), (name, key)
        expected = pytest.approx(case.data["grad_dot"][name][key], abs=along * golden + 1e-12)
        assert first.dots[name][key] == expected, (name, key)


def assert_weights(
    case: Case, ours: Iteration, values: Table, deltas: Table, rtol: dict[str, float]
) -> None:
    """Sums and norms of the weights and of their changes.

    `rtol` holds the bounds of the README's rules: `value` and `share` (of the change) for norms of
    weights, `sum` (in changes) for sums, `delta` and `zero` for norms of changes.
    """
    for name, key, (total, norm), zero in items(case, values):
        delta_sum, delta = deltas[name][key]
        our_sum, our_norm = ours.values[name][key]
        atol = rtol["value"] * norm + rtol["share"] * delta
        assert our_norm == pytest.approx(norm, abs=atol), (name, key)
        our_delta_sum, our_delta = ours.deltas[name][key]
        # A sum may cancel: what counts is the rounding of its terms.
        atol = rtol["sum"] * delta + 1e-9 * norm
        assert our_sum == pytest.approx(total, abs=atol), (name, key)
        assert our_delta_sum == pytest.approx(delta_sum, abs=atol), (name, key)
        relative = rtol["zero"] if zero else rtol["delta"]
        assert our_delta == pytest.approx(delta, rel=relative, abs=1e-15), (name, key)


SHARP = {"value": 1e-11, "share": 1e-7, "sum": 1e-5, "delta": 1e-7, "zero": 1e-7}


@every_iteration
@every_precision
def test_weights_after_the_step(case: Case, dtype: torch.dtype) -> None:
    loose = {"value": 1e-5, "share": 0.1, "sum": 2.0, "delta": 1e-2, "zero": 5e-2}
    assert_weights(
        case,
        run(case, dtype).iterations[0],
        case.data["after_step"],
        case.data["after_step_delta"],
        SHARP if dtype == torch.float64 else loose,
    )


@every_iteration
@every_precision
def test_second_iteration(case: Case, dtype: torch.dtype) -> None:
    second = case.data["second_iteration"]
    loose = {"value": 1e-5, "share": 0.5, "sum": 5.0, "delta": 5e-2, "zero": 2e-1}
    ours = run(case, dtype).iterations[1]
    assert_terms(case, ours.terms, second["losses"], 1e-7 if dtype == torch.float64 else 3e-2)
    rtol = SHARP if dtype == torch.float64 else loose
    assert_weights(case, ours, second["after_step"], second["after_step_delta"], rtol)
