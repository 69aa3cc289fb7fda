"""Whole training iterations of MUNIT and UNIT: losses, images, gradients, weights after each step.

In float64 everything is compared sharply, in float32 within the bounds that the case states.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from core.checkpoints.official_layout import official_names, to_official
from core.family import ImageBatch
from core.training.update import Updater
from munit.family import MUNIT
from munit.official import from_official
from munit.unit import UNIT
from tests.reference.cases import Case, agree, each
from tests.reference.munit_cases import dot, family, fill, style
from tests.reference.training import (
    Iteration,
    Table,
    Watch,
    at_least,
    every_dtype,
    further_iterations,
    gradients_agree,
    in_both_precisions,
    norm,
    zero_keys,
)
from tests.thorough import only_if_thorough

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


def build(case: Case, dtype: torch.dtype) -> MUNIT | UNIT:
    with TemporaryDirectory() as folder:
        vgg = {}
        if "vgg" in case.data["spec"]:
            path = Path(folder) / "vgg16.weight"
            torch.save(case.weights("vgg"), path)
            vgg = {"vgg_weights": str(path), "vgg_input": "caffe"}
        model = family(case, model=vgg)
        fill(case, model.networks, dtype)
        assert all(network.training for network in model.networks.values())
        if vgg:
            model.perceptual_loss.vgg()  # reads the file
    return model


def norm_and_dot(key: str, gradient: Tensor) -> tuple[float, float]:
    return norm(key, gradient), dot(key, gradient) if gradient.dim() else 0.0


class Runner:
    """Runs iterations with the case's draws; those after the first are named `<name>_iter2`."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.case, self.dtype, self.family = case, dtype, build(case, dtype)
        self.watch = Watch(self.family, norm_and_dot)
        self.update = Updater("cpu", list(self.family.networks.values()))
        self.batch = ImageBatch(case.input("x_a", dtype), case.input("x_b", dtype), (), ())
        self.parts: dict[str, list[Tensor]] = {}
        for name in ("gen_a", "gen_b"):
            for part, module in self.family.networks[name].named_children():
                module.register_forward_hook(
                    lambda _module, _inputs, output, path=f"{name}.{part}": self.parts.setdefault(
                        path, []
                    ).append(output.detach())
                )

    def images(self, suffix: str) -> ImageBatch:
        """The images of an iteration; those before if it has none of its own."""
        for domain in ("a", "b"):
            if self.case.has(f"x_{domain}{suffix}"):
                images = self.case.input(f"x_{domain}{suffix}", self.dtype)
                self.batch = replace(self.batch, **{domain: images})
        return self.batch

    def run(self, number: int) -> Iteration:
        suffix = "" if number == 1 else f"_iter{number}"
        names, draw = ("s_a_dis", "s_b_dis", "s_a", "s_b"), style
        if isinstance(self.family, UNIT):
            names = ("n_a_dis", "n_b_dis", "n_a", "n_b", "n_b_recon", "n_a_recon")
            draw = Case.input
        draws = iter([draw(self.case, name + suffix, self.dtype) for name in names])
        batch = self.images(suffix)
        self.update.begin()
        with patch(f"{type(self.family).__module__}.normal", lambda *_: next(draws)):
            terms = self.family.training_step(batch, number - 1, self.update)
        self.update.finish()
        outputs, self.parts = named_outputs(self.parts, len(batch.a)), {}
        done = self.watch.iteration(terms, outputs)
        self.watch.measure = norm
        return done


def named_outputs(outputs: dict[str, list[Tensor]], number: int) -> dict[str, Tensor]:
    """The golden arrays' names for what each part gave in an iteration on `number` images."""
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


def run(case: Case) -> dict[torch.dtype, list[Iteration]]:
    """Every iteration that the case has draws for; kept, because several tests look at it."""
    if case.name.endswith("nocyc"):
        only_if_thorough("the iteration with one term more runs always")
    return every_run(case)


@cache
def every_run(case: Case) -> dict[torch.dtype, list[Iteration]]:
    number = 1
    while any(name.endswith(f"_iter{number + 1}") for name in case.data["inputs"]):
        number += 1
    return in_both_precisions(lambda dtype: Runner(case, dtype), number)


every_iteration = each("iteration_nocyc", "iteration_cyc", "iteration_vgg", "unit_iteration")


def measured(case: Case, name: str) -> float:
    return case.data["tolerance"].get("measured_float32_cpu", {}).get(name, 0.0)


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
@every_dtype
def test_losses(case: Case, dtype: torch.dtype) -> None:
    done, stated = run(case)[dtype], case.data["tolerance"]["losses"]["rtol"]
    single = at_least(stated, measured(case, "losses_max_rel"))
    sharp = dtype == torch.float64
    assert_terms(case, done[0].terms, case.data["losses"], 1e-9 if sharp else single)
    for number, golden in further_iterations(case).items():
        rel = 1e-7 if sharp else single
        assert_terms(case, done[number - 1].terms, golden["losses"], rel)


@every_iteration
@every_dtype
def test_images_and_codes(case: Case, dtype: torch.dtype) -> None:
    stated = case.data["tolerance"]["arrays"]
    bounds = {} if dtype == torch.float64 else {key: stated[key] for key in ("rtol", "atol")}
    agree(run(case)[dtype][0].outputs, case.arrays, **bounds)


@every_iteration
@every_dtype
def test_gradients(case: Case, dtype: torch.dtype) -> None:
    sharp, golden = dtype == torch.float64, case.data["grad_l2"]
    first = {name: tables[0] for name, tables in run(case)[dtype][0].gradients.items()}
    norms, dots = (
        {name: {key: pair[i] for key, pair in table.items()} for name, table in first.items()}
        for i in (0, 1)
    )
    stated = case.data["tolerance"]["grad_l2"]["rtol"]
    rel = 1e-8 if sharp else at_least(stated, measured(case, "grad_l2_max_rel"))
    gradients_agree(case, norms, golden, rel=rel, nothing=1e-9 if sharp else 1e-4)
    along = 1e-8 if sharp else at_least(0.05, measured(case, "grad_dot_max_error_over_l2"))
    for name, table in case.data["grad_dot"].items():
        for key in table.keys() - zero_keys(case, name):
            expected = pytest.approx(table[key], abs=along * golden[name][key] + 1e-12)
            assert dots[name][key] == expected, (name, key)


def assert_weights(
    case: Case, ours: Iteration, golden: dict[str, Any], deltas: Table, dtype: torch.dtype
) -> None:
    """Sums and norms of the weights and of their changes, within the rules of the cases."""
    if dtype == torch.float64:
        value, share, total_share, change, of_zero = 1e-11, 1e-7, 1e-5, 1e-7, 1e-7
    else:
        value, share, total_share, change, of_zero = 1e-5, 0.1, 2.0, 1e-2, 5e-2
    for name, table in golden.items():
        zero = zero_keys(case, name)
        for key, (total, norm_) in table.items():
            delta_sum, delta = deltas[name][key]
            our_sum, our_norm = ours.values[name][key]
            assert our_norm == pytest.approx(norm_, abs=value * norm_ + share * delta), (name, key)
            our_delta_sum, our_delta = ours.deltas[name][key]
            # A sum may cancel: what counts is the rounding of its terms.
            sums = total_share * delta + 1e-9 * norm_
            assert our_sum == pytest.approx(total, abs=sums), (name, key)
            assert our_delta_sum == pytest.approx(delta_sum, abs=sums), (name, key)
            relative = of_zero if key in zero else change
            assert our_delta == pytest.approx(delta, rel=relative, abs=1e-15), (name, key)


@every_iteration
@every_dtype
def test_weights_after_each_step(case: Case, dtype: torch.dtype) -> None:
    for number, golden in ({1: case.data} | further_iterations(case)).items():
        ours = run(case)[dtype][number - 1]
        assert_weights(case, ours, golden["after_step"], golden["after_step_delta"], dtype)
