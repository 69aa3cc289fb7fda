"""Whole WGAN and WGAN-GP iterations: n critic updates and one of the generator.

Weights pass through `wgan.official`, batches through `training_step`, updates through
`core.training.update.Updater`; noise and the penalty's alphas are the case's. What a case says in
words (optimizer, order, tolerance) is read from its words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wgan.family
from core.checkpoints.official_layout import official_names
from core.config import validate
from core.family import SampleBatch
from core.losses import gradient_penalty
from core.training.update import Updater
from tests.reference.cases import Case, close, each
from tests.wgan.separate import SeparateWGAN
from wgan import official
from wgan.family import WGAN

NUMBER = r"([0-9.]+(?:e-?[0-9]+)?)"
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


def stated(text: str, name: str) -> float:
    """The number behind a word, e.g. 1e-4 of "lr 1e-4, ..."."""
    found = re.search(rf"{name} {NUMBER}", text)
    assert found, f"no {name} in {text!r}"
    return float(found[1])


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
    before = re.match(r"For j = 1\.\.\d+: clip ", case.data["order"][0]) is not None
    real_low = case.data["loss_definitions"]["errD_j"].startswith("critic_real_j - critic_fake_j")
    assert before == real_low, "clipping order of one convention and sign of the other"
    convention = "official" if before else "paper"
    return {"constraint": "clip", "clip": hyper["clip"], "clip_convention": convention}


def build(case: Case, dtype: torch.dtype, *, joint: bool) -> WGAN:
    """The family with the case's weights and options."""
    states = {name: case.weights(name) for name in case.data["spec"]}
    read = official.from_official(states, source=case.folder)
    hyper, tree = case.data["hyperparameters"], read.config.model_dump(mode="json")
    tree["model"] |= constraint_options(case) | {"num_critic": hyper["n_critic"]}
    tree["optim"] |= optimizer_options(hyper["optimizer"])
    family = (WGAN if joint else SeparateWGAN).build(validate(WGAN.Config, tree))
    for name, network in family.networks.items():
        network.load_state_dict(read.networks[name].state_dict())
        network.to(dtype).train()
    return family


def alpha(case: Case, number: int, dtype: torch.dtype) -> Tensor:
    """Uniform numbers from the named normal ones, as `input_rules` says."""
    assert case.data["input_rules"]["alpha"].startswith("alpha_j = 0.5*(1 + erf(n/sqrt(2)))")
    normal = case.input(f"alpha_{number}")
    return (0.5 * (1 + torch.erf(normal / math.sqrt(2)))).to(dtype)


Norms = dict[str, float]
Summaries = dict[str, dict[str, tuple[float, float]]]
"""{network: {official key: (sum, L2 norm)}}"""


@dataclass
class Iteration:
    """What a case's critic updates and its generator update gave."""

    terms: list[dict[str, float]] = field(default_factory=list)
    """Of each step."""
    fakes: list[Tensor] = field(default_factory=list)
    """What G made, in order."""
    gradients: dict[str, list[Norms]] = field(default_factory=dict)
    """{network: at each of its updates, {official key: norm}}"""
    penalty_gradients: Norms = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)
    largest: float = 0.0
    """Critic parameter when the generator is updated."""
    values: Summaries = field(default_factory=dict)
    deltas: Summaries = field(default_factory=dict)


def owners(network: nn.Module) -> dict[nn.Parameter, str]:
    keys = {ours: official_key for official_key, ours in official_names(network).items()}
    return {parameter: keys[name] for name, parameter in network.named_parameters()}


def watch(family: WGAN, seen: Iteration) -> None:
    """Record what passes through the networks and the optimizers."""

    def note_fake(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.fakes.append(output.detach())

    family.networks["G"].register_forward_hook(note_fake)
    critic = list(family.networks["D"].parameters())
    for name, optimizer in family.optimizers.items():
        names = owners(family.networks[name])
        table = seen.gradients.setdefault(f"net{name}", [])

        def note(*_: Any, names: Any = names, table: Any = table, name: str = name) -> None:
            grads = {key: p.grad for p, key in names.items()}
            table.append({k: 0.0 if g is None else g.norm().item() for k, g in grads.items()})
            if name == "G":
                seen.largest = max(float(p.detach().abs().max()) for p in critic)

        optimizer.register_step_pre_hook(note)


def given_penalty(case: Case, family: WGAN, seen: Iteration, dtype: torch.dtype) -> Any:
    """`gradient_penalty` with the case's alphas; looks closely at the first."""
    critic = family.networks["D"]
    calls: list[None] = []

    def penalty(judge: Any, real: Tensor, fake: Tensor, **options: Any) -> Tensor:
        calls.append(None)
        share = alpha(case, len(calls), dtype)
        value = gradient_penalty(judge, real, fake, alpha=share, **options)
        if len(calls) == 1:
            parameters = owners(critic)
            grads = torch.autograd.grad(value, [*parameters], retain_graph=True, allow_unused=True)
            seen.penalty_gradients = {
                key: 0.0 if grad is None else grad.norm().item()
                for key, grad in zip(parameters.values(), grads, strict=True)
            }
            share = share.reshape(-1, 1, 1, 1)
            x = (share * real + (1 - share) * fake).detach().requires_grad_()
            values = critic(x)
            (slopes,) = torch.autograd.grad(values.sum(), x)
            seen.arrays["critic_interpolated_1"] = values.detach()
            seen.arrays["grad_norms_1"] = slopes.flatten(1).norm(dim=1)
        return value

    return penalty


def snapshot(family: WGAN) -> dict[str, dict[str, Tensor]]:
    return {
        f"net{name}": {k: v.double().clone() for k, v in official.to_official(network).items()}
        for name, network in family.networks.items()
    }


def summarise(states: Mapping[str, Mapping[str, Tensor]]) -> Summaries:
    return {
        name: {key: (v.sum().item(), v.norm().item()) for key, v in state.items()}
        for name, state in states.items()
    }


@cache
def run(case: Case, dtype: torch.dtype, joint: bool) -> Iteration:
    """The case's iteration; kept, because several tests look at it."""
    family, seen = build(case, dtype, joint=joint), Iteration()
    update, number = Updater("cpu", list(family.networks.values())), family.config.model.num_critic
    names = [f"z_{j + 1}" for j in range(number)] + ["z_g"]
    noises = iter([case.input(name, dtype).flatten(1) for name in names])
    start = snapshot(family)
    watch(family, seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "draw_noise", lambda *_: next(noises))
        patch.setattr(wgan.family, "gradient_penalty", given_penalty(case, family, seen, dtype))
        for step in range(number):
            real = case.input(f"real_{step + 1}", dtype)
            update.begin()
            batch = SampleBatch(real, ("",) * len(real), ("",) * len(real))
            terms = family.training_step(batch, step, update)
            update.finish()
            seen.terms.append({name: term.item() for name, term in terms.items()})
    assert next(noises, None) is None
    now = snapshot(family)
    seen.values = summarise(now)
    seen.deltas = summarise(
        {n: {k: v - start[n][k] for k, v in state.items()} for n, state in now.items()}
    )
    fakes = {f"fake_{j + 1}": fake for j, fake in enumerate(seen.fakes[:-1])}
    seen.arrays |= fakes | {"fake_g": seen.fakes[-1]}
    return seen


@dataclass(frozen=True)
class Setting:
    """In which precision, and how often through the critic."""

    dtype: torch.dtype
    joint: bool

    def iteration(self, case: Case) -> Iteration:
        # With batch norm samples meet: there is nothing to join, and one run serves both.
        meets = any(key.endswith("running_mean") for key in case.data["spec"]["netD"])
        return run(case, self.dtype, self.joint and not meets)

    def tolerance(self, case: Case, name: str, sharp: tuple[float, float]) -> dict[str, float]:
        """{rtol, atol}: `sharp` in float64, what the case states in float32."""
        if self.dtype == torch.float64:
            return {"rel": sharp[0], "abs": sharp[1]}
        text = case.data["tolerance"]["float32"][name]
        return {"rel": stated(text, "rtol"), "abs": stated(text, "atol") if "atol" in text else 0}


every_iteration = each("wgan_iteration")
every_setting = pytest.mark.parametrize(
    "setting",
    [
        pytest.param(Setting(torch.float64, True), id="float64-joint"),
        pytest.param(Setting(torch.float64, False), id="float64-separate"),
        pytest.param(Setting(torch.float32, True), id="float32"),
    ],
)


def zero_keys(case: Case, network: str) -> set[str]:
    return set(case.data.get("zero_gradient_keys", {}).get(network, ()))


def our_losses(case: Case, seen: Iteration) -> dict[str, float]:
    """Under every name that a case may use; values have the sign of the case's critic."""
    real_low = constraint_options(case).get("clip_convention") == "official"
    losses = {}
    for number, terms in enumerate(seen.terms, 1):
        for ours, theirs in LOSSES.items():
            for name in theirs if ours in terms else ():
                sign = -1 if real_low and ours in ("critic_real", "critic_fake") else 1
                losses[name if ours == "G" else f"{name}_{number}"] = sign * terms[ours]
    return losses


@every_iteration
def test_architecture_is_the_described_one(case: Case) -> None:
    family = build(case, torch.float32, joint=True)
    assert {f"net{name}" for name in family.networks} == case.data["spec"].keys()
    for name, network in family.networks.items():
        spec = case.data["spec"][f"net{name}"]
        ours = {key: list(value.shape) for key, value in official.to_official(network).items()}
        if not any("running" in key for key in spec):  # TensorFlow code that kept none
            ours = {key: shape for key, shape in ours.items() if not STATISTIC.search(key)}
        assert ours == spec
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == case.data["parameter_counts"][f"net{name}"]


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
        ours = official.to_official(network)
        assert all(torch.equal(ours[k], v) for k, v in case.weights(f"net{name}").items())
    if saved:
        for name, state in states.items():
            assert written[name].keys() == state.keys()
            assert all(torch.equal(written[name][key], value) for key, value in state.items())


@every_iteration
@every_setting
def test_losses(case: Case, setting: Setting) -> None:
    seen = setting.iteration(case)
    ours, limits = our_losses(case, seen), setting.tolerance(case, "losses", (1e-8, 1e-14))
    ours["critic_fake_g"] = seen.terms[-1]["G"]
    if case.data["loss_definitions"].get("errG", "").startswith("-"):
        ours["critic_fake_g"] *= -1
    for name, golden in case.data["losses"].items():
        assert ours[name] == pytest.approx(golden, **limits), name
    for terms in seen.terms:
        assert terms["negative_critic_loss"] == -terms["critic"]


@every_iteration
@every_setting
def test_arrays(case: Case, setting: Setting) -> None:
    limits = setting.tolerance(case, "arrays", (1e-6, 1e-6))
    arrays = setting.iteration(case).arrays
    for name, golden in case.arrays.items():
        close(arrays[name].reshape(golden.shape), golden, rtol=limits["rel"], atol=limits["abs"])


@every_iteration
@every_setting
def test_gradients(case: Case, setting: Setting) -> None:
    seen = setting.iteration(case)
    limits = setting.tolerance(case, "grad_l2", (1e-8, 1e-12))
    for entry, table in case.data["grad_l2"].items():
        network, _, which = entry.partition("_")
        if which == "penalty_only":
            ours = seen.penalty_gradients
        else:
            ours = seen.gradients[network][int(which.removeprefix("step")) - 1 if which else 0]
        for key, golden in table.items():
            # Of a bias behind piecewise linear layers the penalty's gradient is exactly zero.
            zero = key in zero_keys(case, network) or golden == 0
            atol = 1e-3 if zero and setting.dtype == torch.float32 else limits["abs"]
            assert ours[key] == pytest.approx(golden, rel=limits["rel"], abs=atol), (entry, key)


@every_iteration
@every_setting
def test_weights_after_the_iteration(case: Case, setting: Setting) -> None:
    seen, spec = setting.iteration(case), case.data["spec"]
    double = setting.dtype == torch.float64
    bounds = case.data["tolerance"]["float32"]
    norm_rtol = 1e-8 if double else stated(bounds["after_step_l2"], "rtol")
    per_root = 1e-8 if double else stated(bounds["after_step_sum"], "entries\\):")
    delta_rtol = 1e-7 if double else stated(bounds["delta_l2"], "rtol")
    for network, table in case.data["after_step"].items():
        for key, (total, norm) in table.items():
            if key in zero_keys(case, network):
                continue
            root = math.prod(spec[network][key]) ** 0.5
            our_total, our_norm = seen.values[network][key]
            assert our_total == pytest.approx(total, rel=1e-9, abs=per_root * root), key
            assert our_norm == pytest.approx(norm, rel=norm_rtol), key
        for key, norm in case.data["delta_l2"][network].items():
            if key not in zero_keys(case, network):
                expected = pytest.approx(norm, rel=delta_rtol, abs=1e-12)
                assert seen.deltas[network][key][1] == expected, key


@every_iteration
@every_setting
def test_rounding_noise_moves_the_others_little(case: Case, setting: Setting) -> None:
    seen, hyper = setting.iteration(case), case.data["hyperparameters"]
    rate = optimizer_options(hyper["optimizer"])["lr"]
    for network in case.data["spec"]:
        steps = hyper["n_critic"] if network == "netD" else 1
        for key in zero_keys(case, network):
            root = math.prod(case.data["spec"][network][key]) ** 0.5
            # Adam's first steps can exceed lr: the square has a shorter memory than the mean.
            assert seen.deltas[network][key][1] <= 2 * rate * steps * root, key


@every_iteration
@every_setting
def test_further_values(case: Case, setting: Setting) -> None:
    for name, golden in case.data.get("values", {}).items():
        assert name == LARGEST, f"unknown value {name!r}"
        rtol = 1e-9 if setting.dtype == torch.float64 else 1e-5
        assert setting.iteration(case).largest == pytest.approx(golden, rel=rtol)
