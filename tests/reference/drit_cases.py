"""What the tests of DRIT's reference cases share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.config import validate
from drit.config import Config
from drit.family import DRIT
from drit.official import from_official
from tests.reference.cases import Case

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


def summary(value: Tensor) -> tuple[float, float]:
    """Sum and L2 norm."""
    return value.double().sum().item(), value.double().norm().item()


def assert_gradients(
    ours: Mapping[str, float],
    golden: Mapping[str, float],
    stated: Mapping[str, float] | None = None,
) -> None:
    """Gradient norms agree, in float64 or within ten times a case's suggested float32 bounds.

    Those are five times the deviation of one run; another processor rounds differently.
    """
    assert ours.keys() == golden.keys()
    rtol = 10 * stated["rtol"] if stated else 1e-8
    share = stated["atol_as_fraction_of_the_largest_in_the_network"] if stated else 1e-10
    largest = max(golden.values())
    for key, value in golden.items():
        assert ours[key] == pytest.approx(value, rel=rtol, abs=share * largest), key


def items(
    tables: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, str, float, float]]:
    """(network, key, sum, norm)."""
    for name, table in tables.items():
        for key, (total, norm) in table.items():
            yield name, key, total, norm
