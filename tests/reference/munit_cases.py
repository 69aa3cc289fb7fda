"""What the MUNIT and UNIT cases have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.checkpoints.official_layout import load_official
from core.config import validate
from munit.config import AdaINGenOptions, DisOptions, MUNITConfig, UNITConfig, VAEGenOptions
from munit.family import MUNIT
from munit.networks import AdaINGen, MsImageDis, VAEGen
from munit.unit import UNIT
from tests.reference.cases import Case, fill_rule, no_initial_weights

Tree = dict[str, Any]
ADAM_OPTIONS = ("lr", "beta1", "beta2", "eps", "weight_decay")


def _fields(options: type[Any], tree: Mapping[str, Any]) -> Tree:
    """What of a published section these options know; a published UNIT file names styles too."""
    return {key: value for key, value in tree.items() if key in options.model_fields}


@no_initial_weights()
def family(case: Case, **more: Any) -> MUNIT | UNIT:
    """The case's model with its options and initial weights; `more` adds to the model's."""
    hyper, styles = case.hyper, "recon_s_w" in case.hyper
    config: type[MUNITConfig] | type[UNITConfig] = MUNITConfig if styles else UNITConfig
    model = _fields(config.model_fields["model"].annotation, hyper)  # type: ignore[arg-type]
    gen = _fields(AdaINGenOptions if styles else VAEGenOptions, hyper["gen"])
    tree = {
        "family": "munit" if styles else "unit",
        "data": {"root": "nowhere"},
        "model": model | {"gen": gen, "dis": hyper["dis"]} | more.pop("model", {}),
        "optim": {key: float(hyper[key]) for key in ADAM_OPTIONS if key in hyper},
        "train": more,
    }
    return (MUNIT if styles else UNIT).build(validate(config, tree))  # type: ignore[arg-type]


def fill(case: Case, networks: Mapping[str, nn.Module], dtype: torch.dtype) -> None:
    """Give the networks the case's weights, through the official layout."""
    for name, network in networks.items():
        load_official(network, case.weights(name), name, case.folder)
        network.to(dtype)


@no_initial_weights()
def network(case: Case, name: str, dtype: torch.dtype = torch.float64) -> Any:
    """A single network with the case's options and weights, in the case's mode."""
    hyper, spec = case.hyper, case.data["spec"][name]
    made: nn.Module
    if any(key.startswith("cnns.") for key in spec):
        made = MsImageDis(hyper["input_dim_a"], DisOptions(**hyper["dis"]))
    elif any(key.startswith("enc_style.") for key in spec):
        made = AdaINGen(hyper["input_dim_a"], AdaINGenOptions(**hyper["gen"]))
    else:
        made = VAEGen(hyper["input_dim_a"], VAEGenOptions(**_fields(VAEGenOptions, hyper["gen"])))
    fill(case, {name: made}, dtype)
    return made.train(case.data["mode"][name] == ["train"])


def style(case: Case, name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """A named style code, published as [N, style_dim, 1, 1], here [N, style_dim]."""
    return case.input(name, dtype).flatten(1)


def dot(key: str, gradient: Tensor) -> float:
    """The gradient along the case's direction for this key."""
    direction = torch.from_numpy(fill_rule().noise(f"dot:{key}", list(gradient.shape), 0))
    return (gradient.double() * direction).sum().item()


def assert_gradients(
    case: Case, table: str, zero: set[str], gradients: Mapping[str, Tensor | None]
) -> None:
    """Norms and directional values in float64; zero where a parameter has no gradient."""
    norms, dots = case.data["grad_l2"][table], case.data["grad_dot"][table]
    assert gradients.keys() == norms.keys()
    for key, gradient in gradients.items():
        norm = 0.0 if gradient is None else gradient.norm().item()
        along = 0.0 if gradient is None else dot(key, gradient)
        if key in zero:
            assert norm < 1e-9, key
        else:
            assert norm == pytest.approx(norms[key], rel=1e-9, abs=1e-13), key
            assert along == pytest.approx(dots[key], rel=1e-9, abs=1e-9 * norms[key]), key


def named_gradients(network: nn.Module) -> dict[str, Tensor | None]:
    """{official key: gradient}; the names are ours."""
    return {key: parameter.grad for key, parameter in network.named_parameters()}
