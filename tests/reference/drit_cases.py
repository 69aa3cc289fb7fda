"""What the tests of DRIT's reference cases share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.config import validate
from drit.config import Config
from drit.family import DRIT
from drit.official import from_official
from tests.reference.cases import Case, agree, no_initial_weights
from tests.reference.training import numbers_agree, summary, weights_agree

WEIGHTS = {
    "lambda_self": "weight_self_reconstruction",
    "lambda_cycle": "weight_cross_cycle",
    "lambda_latent": "weight_latent_regression",
    "lambda_kl": "weight_kl_attribute",
    "lambda_l2": "weight_l2_content",
    "lambda_gan": "weight_adversarial",
    "lambda_content": "weight_content_adversarial",
    "lambda_ms": "weight_mode_seeking",
    "clip_content": "clip_max_norm_content_discriminator",
    "d_iter": "d_iter",
}
"""Our option: the case's name."""


@no_initial_weights()
def build(case: Case, dtype: torch.dtype = torch.float64) -> DRIT:
    """The case's networks in train mode, with its weights and options, through `official.py`."""
    read = from_official(
        {name: case.weights(name) for name in case.data["spec"]}, source=case.folder
    )
    hyper, tree = case.hyper, read.config.model_dump(mode="json")
    for option in ("input_dim_a", "input_dim_b", "nz"):
        # What no key tells: a single network does not show both domains.
        tree["model"].setdefault(option, hyper[option])
        assert tree["model"][option] == hyper[option]
    tree["model"] |= {ours: hyper[theirs] for ours, theirs in WEIGHTS.items() if theirs in hyper}
    if hyper["no_ms"]:
        tree["model"]["lambda_ms"] = 0.0
    for option in ("lr", "eps", "weight_decay"):
        if option in hyper:
            tree["optim"][option] = hyper[option]
    if "betas" in hyper:
        tree["optim"] |= dict(zip(("beta1", "beta2"), hyper["betas"], strict=True))
    if "lr_content_discriminator" in hyper:
        tree["optim"]["rate_content"] = hyper["lr_content_discriminator"] / hyper["lr"]
    for name, network in read.networks.items():
        network.to(dtype).train()
        if name in ("enc_c", "gen"):
            # The same numbers (tests/drit); in float64 a whole iteration takes much memory.
            network.gradient_checkpointing = dtype == torch.float64
    return DRIT(validate(Config, tree), read.networks)


def optional(case: Case, name: str, dtype: torch.dtype) -> Tensor | None:
    return case.input(name, dtype) if case.has(name) else None


def norms(network: nn.Module) -> dict[str, float]:
    """L2 norm of each parameter's gradient."""
    return {
        key: 0.0 if p.grad is None else p.grad.double().norm().item()
        for key, p in network.named_parameters()
    }


@dataclass
class Step:
    """One step of one network's optimizer, by key: L2 norms, and [sum, norm] of weights."""

    gradients: dict[str, float]
    after_step: dict[str, list[float]]
    update: dict[str, list[float]]
    """Of the change."""
    unclipped: dict[str, float]
    """Gradients before clipping."""


class Steps(dict[str, list[Step]]):
    """{network: its steps}, written down as they happen."""

    def __init__(self, family: DRIT) -> None:
        super().__init__({name: [] for name in family.networks})
        for name, network in family.networks.items():
            self._watch(name, network, family.optimizers[name])

    def _watch(self, name: str, network: nn.Module, optimizer: Optimizer) -> None:
        unclipped: dict[str, float] = {}
        before: dict[str, Tensor] = {}

        def pre(*_: Any) -> None:
            before.update({k: p.detach().clone() for k, p in network.named_parameters()})

        def post(*_: Any) -> None:
            now = {key: p.detach() for key, p in network.named_parameters()}
            changes = {key: summary(p - before.pop(key)) for key, p in now.items()}
            values = {key: summary(p) for key, p in now.items()}
            self[name].append(Step(norms(network), values, changes, dict(unclipped)))

        for key, parameter in network.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda p, key=key: unclipped.update({key: p.grad.double().norm().item()})
            )
        optimizer.register_step_pre_hook(pre)
        optimizer.register_step_post_hook(post)


def gradients_agree(
    ours: Mapping[str, float],
    golden: Mapping[str, float],
    stated: Mapping[str, float] | None = None,
) -> None:
    """Gradient norms agree, in float64 or within ten times a case's suggested float32 bounds.

    Those are five times the deviation of one run; another processor rounds differently.
    """
    assert ours.keys() == golden.keys()
    rel = 10 * stated["rtol"] if stated else 1e-8
    share = stated["atol_as_fraction_of_the_largest_in_the_network"] if stated else 1e-10
    numbers_agree(ours, golden, rel=rel, abs=share * max(golden.values()))


def stage_agrees(
    case: Case,
    stage: str,
    steps: Mapping[str, Step],
    dtype: torch.dtype,
    *,
    sharp: float = 1e-9,
    slack: float = 1.0,
    flips: int = 0,
) -> None:
    """Gradients, weights and their changes of all networks that step in a stage.

    Args:
        case: what it says of the stage.
        stage: its name.
        steps: {network: its step}.
        dtype: of the run.
        sharp: float64's bound of sums, for each square root of the number of elements.
        slack: factor on the float32 bounds of norms.
        flips: elements that may step the other way in float32: a first step is nearly a sign.
    """
    single, stated = dtype == torch.float32, case.data["tolerance"]
    for name, step in steps.items():
        for ending, table in (("", step.gradients), ("_before_clipping", step.unclipped)):
            if name in case.data["grad_l2"].get(stage + ending, {}):
                bounds = stated["grad_l2"][stage + ending] if single else None
                gradients_agree(table, case.data["grad_l2"][stage + ending][name], bounds)
    for kind in ("after_step", "update"):
        bounds = stated[kind][stage] if single else {}
        assert case.data[kind][stage].keys() == steps.keys()
        weights_agree(
            case,
            {name: getattr(step, kind) for name, step in steps.items()},
            case.data[kind][stage],
            rel=slack * bounds["l2_rtol"] if single else 1e-7,
            per_root=bounds.get("sum_atol_per_square_root_of_element_count", sharp),
            drift=0.0,
            extra=2 * case.hyper.get("lr", 0.0) * flips if single else 0.0,
        )


def losses_agree(case: Case, ours: Mapping[str, float], dtype: torch.dtype) -> None:
    """All losses but those of a reading of the second gradient that is not ours."""
    golden = {name: v for name, v in case.data["losses"].items() if "new_forward" not in name}
    stated = case.data["tolerance"]["losses"]
    sharp = dtype == torch.float64
    rel, abs_ = (1e-9, 1e-12) if sharp else (stated["rtol"], stated["atol"])
    numbers_agree(ours, golden, rel=rel, abs=abs_)


def values_agree(
    case: Case, ours: Mapping[str, float], dtype: torch.dtype, sharp: float = 1e-8
) -> None:
    """Further numbers of a case."""
    golden = {name: value for name, value in case.data["values"].items() if name in ours}
    assert golden
    rel = sharp if dtype == torch.float64 else case.data["tolerance"]["values"]["rtol"]
    numbers_agree(ours, golden, rel=rel)


def outputs_agree(case: Case, outputs: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Every golden array is one of ours; logits of all places may stand in one row."""
    golden, stated = case.arrays, case.data["tolerance"]["outputs"]
    rows = {n: x.flatten() for n, x in outputs.items() if n in golden and golden[n].dim() == 1}
    sharp = dtype == torch.float64
    agree(
        {**outputs, **rows},
        golden,
        rtol=1e-6 if sharp else stated["rtol"],
        atol=1e-6 if sharp else stated["atol"],
    )
