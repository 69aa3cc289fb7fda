"""Whole WGAN and WGAN-GP iterations: n critic updates and one of the generator.

Weights pass through `wgan.official`, batches through `training_step`, updates through
`core.training.update.Updater`; noise and the penalty's alphas are the case's. What a case says in
words (optimizer, order, tolerance) is read from its words.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import wgan.family
from core.checkpoints.official_layout import to_official
from core.config import validate
from core.family import SampleBatch
from core.losses import gradient_penalty
from core.training.update import Updater
from tests.reference.cases import Case, agree, each, no_initial_weights
from tests.reference.training import (
    NUMBER,
    PER_ROOT,
    Iteration,
    Watch,
    changes_agree,
    every_dtype,
    float32_bound,
    gradients_agree,
    in_both_precisions,
    norm,
    numbers_agree,
    stated,
    weights_agree,
)
from tests.wgan.separate import SeparateWGAN
from wgan import official
from wgan.family import WGAN

STATISTIC = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")
LARGEST = "largest absolute critic parameter when the generator is updated"

LOSSES = {
    "critic_real": ("D_real", "critic_real"),
    "critic_fake": ("D_fake", "critic_fake"),
    "gradient_penalty": ("gradient_penalty",),
    "critic": ("D_cost", "errD"),
    "G": ("G_cost", "errG"),
}
"""{our term: what cases call it, before the number of the critic update}"""


def optimizer_options(text: str) -> dict[str, Any]:
    """Options of "Adam ..., lr 0.0001, betas (0.5, 0.9), eps 1e-8, ..." and of RMSprop's like."""
    options: dict[str, Any] = {"lr": stated(text, "lr"), "eps": stated(text, "eps")}
    assert "no weight decay" in text
    if text.startswith("RMSprop"):
        return options | {"optimizer": "rmsprop", "smoothing": stated(text, "smoothing")}
    betas = re.search(rf"betas \({NUMBER}, {NUMBER}\)", text)
    assert text.startswith("Adam")
    assert betas
    return options | {"beta1": float(betas[1]), "beta2": float(betas[2])}


def constraint_options(case: Case) -> dict[str, Any]:
    """Clipping with its two conventions, or the penalty."""
    hyper = case.data["hyperparameters"]
    if "lambda" in hyper:
        return {"constraint": "penalty", "lambda_gp": hyper["lambda"]}
    before = re.match(r"For j = 1\.\.\d+: clip ", "".join(case.data["order"])) is not None
    real_low = case.data["loss_definitions"]["errD_j"].startswith("critic_real_j - critic_fake_j")
    assert before == real_low, "clipping order of one convention and sign of the other"
    convention = "official" if before else "paper"
    return {"constraint": "clip", "clip": hyper["clip"], "clip_convention": convention}


@no_initial_weights()
def build(case: Case, dtype: torch.dtype, family: type[WGAN] = WGAN) -> WGAN:
    """The family with the case's weights and options."""
    states = {name: case.weights(name) for name in case.data["spec"]}
    read = official.from_official(states, source=case.folder)
    hyper, tree = case.data["hyperparameters"], read.config.model_dump(mode="json")
    tree["model"] |= constraint_options(case) | {"num_critic": hyper["n_critic"]}
    tree["optim"] |= optimizer_options(hyper["optimizer"])
    for network in read.networks.values():
        network.to(dtype).train()
    return family(validate(WGAN.Config, tree), read.networks)


def alpha(case: Case, number: int, dtype: torch.dtype) -> Tensor:
    """Uniform numbers from the named normal ones, as `input_rules` says."""
    assert case.data["input_rules"]["alpha"].startswith("alpha_j = 0.5*(1 + erf(n/sqrt(2)))")
    normal = case.input(f"alpha_{number}")
    return (0.5 * (1 + torch.erf(normal / math.sqrt(2)))).to(dtype)


class Runner:
    """Runs training steps with the case's inputs; looks closely at the penalty."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.case, self.dtype, self.family = case, dtype, build(case, dtype)
        self.watch = Watch(self.family, prefix="net")
        self.update = Updater("cpu", list(self.family.networks.values()))
        self.outputs: dict[str, Tensor] = {}
        self.fakes: list[Tensor] = []
        self.family.networks["G"].register_forward_hook(
            lambda _module, _inputs, output: self.fakes.append(output.detach())
        )
        self.family.optimizers["G"].register_step_pre_hook(self.note_largest)

    def note_largest(self, *_: Any) -> None:
        critic = self.family.networks["D"].parameters()
        self.outputs[LARGEST] = max(p.detach().abs().max() for p in critic)

    def penalty(self, judge: Any, real: Tensor, fake: Tensor, **options: Any) -> Tensor:
        """`gradient_penalty` with the case's alphas."""
        share = alpha(self.case, self.number, self.dtype)
        value = gradient_penalty(judge, real, fake, alpha=share, **options)
        D = self.family.networks["D"]
        if self.number == 1:
            owned = {p: self.watch.owners[p][1] for p in D.parameters()}
            grads = torch.autograd.grad(value, [*owned], retain_graph=True, allow_unused=True)
            for key, grad in zip(owned.values(), grads, strict=True):
                self.outputs[f"penalty_only {key}"] = torch.zeros(()) if grad is None else grad
        if {f"critic_interpolated_{self.number}", f"grad_norms_{self.number}"} & self.wanted:
            share = share.reshape(-1, 1, 1, 1)
            x = (share * real + (1 - share) * fake).detach().requires_grad_()
            values = D(x)
            (slopes,) = torch.autograd.grad(values.sum(), x)
            self.outputs[f"critic_interpolated_{self.number}"] = values.detach()
            self.outputs[f"grad_norms_{self.number}"] = slopes.flatten(1).norm(dim=1)
        return value

    def run(self, number: int) -> Iteration:
        """A critic update, counted from 1, and with the last the generator's."""
        case, self.number, self.wanted = self.case, number, case_arrays(self.case)
        self.fakes, self.outputs = [], {}
        last = number == self.family.config.model.num_critic
        names = iter([f"z_{number}", "z_g"] if last else [f"z_{number}"])
        real = case.input(f"real_{number}", self.dtype)
        batch = SampleBatch(real, ("",) * len(real), ("",) * len(real))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                self.family,
                "draw_noise",
                lambda *_: case.input(next(names), self.dtype).flatten(1),
            )
            patch.setattr(wgan.family, "gradient_penalty", self.penalty)
            self.update.begin()
            terms = self.family.training_step(batch, number - 1, self.update)
            self.update.finish()
        assert next(names, None) is None
        fakes = dict(zip((f"fake_{number}", "fake_g"), self.fakes, strict=False))
        return self.watch.iteration(terms, self.outputs | fakes)


def case_arrays(case: Case) -> set[str]:
    return set(case.arrays)


@cache
def run(case: Case) -> dict[torch.dtype, list[Iteration]]:
    """The case's updates of the critic, the last one with the generator's."""
    number = case.data["hyperparameters"]["n_critic"]
    assert not case.has(f"real_{number + 1}")
    return in_both_precisions(lambda dtype: Runner(case, dtype), number)


every_iteration = each("wgan_iteration")


def bounds(
    case: Case, dtype: torch.dtype, name: str, sharp: tuple[float, float]
) -> dict[str, float]:
    """{rel, abs}: `sharp` in float64; in float32 what the case states, or calls for."""
    if dtype == torch.float64:
        return dict(zip(("rel", "abs"), sharp, strict=True))
    return {"rel": float32_bound(case, name), "abs": float32_bound(case, name, "atol", 0.0)}


@every_iteration
def test_architecture_is_the_described_one(case: Case) -> None:
    family = build(case, torch.float32)
    assert {f"net{name}" for name in family.networks} == case.data["spec"].keys()
    for name, network in family.networks.items():
        spec = case.data["spec"][f"net{name}"]
        ours = {key: list(value.shape) for key, value in to_official(network).items()}
        if not any("running" in key for key in spec):  # TensorFlow code that kept none
            ours = {key: shape for key, shape in ours.items() if not STATISTIC.search(key)}
        assert ours == spec
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == case.data.get("parameter_counts", {}).get(f"net{name}", count)


@every_iteration
def test_files_are_read_and_written(case: Case) -> None:
    states = {name: case.weights(name) for name in case.data["spec"]}
    saved = "generator_config.json" in case.data["checkpoint_layout"]
    if saved:  # under other keys than those of `spec`
        sources = case.data["key_names_in_the_source"]
        states = {n: {sources[n][k]: v for k, v in state.items()} for n, state in states.items()}
    family = official.from_official(states, source=case.folder)
    written = {file.partition("_")[0]: s for file, s in official.to_files(family).items()}
    again = official.from_official(written, source=case.folder)
    for name, network in family.networks.items():
        network_again = again.networks[name].state_dict()
        assert all(torch.equal(network_again[k], v) for k, v in network.state_dict().items())
        ours = to_official(network)
        assert all(torch.equal(ours[k], v) for k, v in case.weights(f"net{name}").items())
    if saved:
        for name, state in states.items():
            assert written[name].keys() == state.keys()
            assert all(torch.equal(written[name][key], value) for key, value in state.items())


@every_iteration
@every_dtype
def test_losses(case: Case, dtype: torch.dtype) -> None:
    """Values have the sign of the case's critic."""
    real_low = constraint_options(case).get("clip_convention") == "official"
    done, ours = run(case)[dtype], {}
    for number, iteration in enumerate(done, 1):
        terms = iteration.terms
        assert terms["negative_critic_loss"] == -terms["critic"]
        for term, names in LOSSES.items():
            sign = -1 if real_low and term in ("critic_real", "critic_fake") else 1
            for name in names if term in terms else ():
                ours[name if term == "G" else f"{name}_{number}"] = sign * terms[term]
    minus = case.data["loss_definitions"].get("errG", "").startswith("-")
    ours["critic_fake_g"] = done[-1].terms["G"] * (-1 if minus else 1)
    numbers_agree(ours, case.data["losses"], **bounds(case, dtype, "losses", (1e-8, 1e-14)))


@every_iteration
@every_dtype
def test_arrays(case: Case, dtype: torch.dtype) -> None:
    limits = bounds(case, dtype, "arrays", (1e-6, 1e-6))
    ours = {name: x for step in run(case)[dtype] for name, x in step.outputs.items()}
    golden = case.arrays
    for name in ours.keys() & golden.keys():  # pixels may stand in one row
        ours[name] = ours[name].reshape(len(ours[name]), *golden[name].shape[1:])
    agree(ours, golden, rtol=limits["rel"], atol=limits["abs"])


@every_iteration
@every_dtype
def test_gradients(case: Case, dtype: torch.dtype) -> None:
    done, ours = run(case)[dtype], {}
    golden = case.data["grad_l2"]
    for entry, table in golden.items():
        network, _, which = entry.partition("_")
        if which == "penalty_only":
            alone = done[0].outputs
            ours[entry] = {key: norm(key, alone[f"penalty_only {key}"]) for key in table}
        else:
            step = len(done) if network == "netG" else int(which.removeprefix("step") or 1)
            ours[entry] = done[step - 1].gradients[network][0]
    limits = bounds(case, dtype, "grad_l2", (1e-8, 1e-12))
    nothing = limits["abs"] if dtype == torch.float64 else 1e-3
    gradients_agree(case, ours, golden, **limits, nothing=nothing)


@every_iteration
@every_dtype
def test_weights_after_the_iteration(case: Case, dtype: torch.dtype) -> None:
    last, hyper, double = run(case)[dtype][-1], case.data["hyperparameters"], dtype == torch.float64
    # Adam's first steps can exceed lr: the square has a shorter memory than the mean.
    drift = 2 * optimizer_options(hyper["optimizer"])["lr"] * hyper["n_critic"]
    weights_agree(
        case,
        last.values,
        case.data["after_step"],
        rel=1e-8 if double else float32_bound(case, "after_step_l2"),
        per_root=1e-8 if double else float32_bound(case, "after_step_sum", PER_ROOT),
        drift=2 * drift,
    )
    rel = 1e-7 if double else float32_bound(case, "delta_l2")
    changes_agree(case, last.deltas, case.data.get("delta_l2", {}), rel=rel, drift=drift)


@every_iteration
@every_dtype
def test_further_values(case: Case, dtype: torch.dtype) -> None:
    ours = {LARGEST: run(case)[dtype][-1].outputs[LARGEST].item()}
    rel = 1e-9 if dtype == torch.float64 else 1e-5
    numbers_agree(ours, case.data.get("values", {}), rel=rel)


@every_iteration
def test_one_forward_of_the_critic_is_two(case: Case) -> None:
    """Real and fake images together, and one after the other as published."""
    results = []
    for kind in (WGAN, SeparateWGAN):
        family = build(case, torch.float64, kind)
        D = family.networks["D"]
        real = case.input("real_1")[:1]
        images = (real, real.flip(3))
        values = family.rate(**{f"critic_{n}": (x,) for n, x in enumerate(images)})
        (values["critic_0"] - 2 * values["critic_1"]).backward()
        gradients = {k: 0 if p.grad is None else norm(k, p.grad) for k, p in D.named_parameters()}
        results.append({name: x.item() for name, x in values.items()} | gradients)
    numbers_agree(*results, rel=1e-8, abs=1e-12)
