"""Released files: read through the family's `official.py`, and written back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

import cyclegan.cut.official
import cyclegan.official
import pix2pix.official
from core.checkpoints.official_layout import to_official
from tests.reference.cases import Case, DropoutMasks, agree, each, no_initial_weights

OFFICIAL = {
    "cut": cyclegan.cut.official,
    "cyclegan": cyclegan.official,
    "pix2pix": pix2pix.official,
}
States = dict[str, dict[str, Tensor]]


@cache
def released(case: Case) -> States:
    return {name: case.weights(name) for name in case.data["spec"]}


@no_initial_weights()
def load(case: Case, states: States) -> Any:
    return OFFICIAL[case.family].from_official(states, source=case.folder)


def ours(case: Case, family: Any, name: str) -> torch.nn.Module:
    """The network that the official name means; a single `G` may have got a direction."""
    networks: Mapping[str, torch.nn.Module] = family.networks
    return networks[name] if name in networks else networks[f"{name}_A"]


def run(
    case: Case, family: Any, name: str, mode: str = "eval", dtype: torch.dtype = torch.float32
) -> Tensor:
    network = ours(case, family, name).to(dtype).train(mode == "train")
    with torch.no_grad(), DropoutMasks(case).of(network):
        return network(case.input(case.describe(name)["input"], dtype))


def dropped(case: Case, name: str) -> set[str]:
    return set(case.data.get("drop_on_load", {}).get(name, ()))


@each("checkpoint")
def test_output_of_the_released_network(case: Case) -> None:
    family, golden, outputs = load(case, released(case)), case.arrays, {}
    for name, modes in case.data["mode"].items():
        for mode in modes:
            output = run(case, family, name, mode, torch.float64)
            outputs[f"{name}_{mode}" if f"{name}_{mode}" in golden else name] = output
    agree(outputs, golden)


@each("checkpoint")
def test_what_does_not_count_changes_nothing(case: Case) -> None:
    """Entries to be dropped, the count of batches before PyTorch 0.4.1, a wrapper's prefix."""
    states = released(case)
    plain = {
        name: {key: value for key, value in state.items() if key not in dropped(case, name)}
        for name, state in states.items()
    }
    wild = {
        name: {k: torch.full_like(v, 7) if k in dropped(case, name) else v for k, v in s.items()}
        for name, s in states.items()
    }
    old = {
        name: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        for name, state in states.items()
    }
    wrapped = {n: {f"module.{k}": v for k, v in s.items()} for n, s in states.items()}
    expected = load(case, states)
    for changed in (plain, wild, old, wrapped):
        family = load(case, changed)
        assert family.config == expected.config
        for name in case.data["mode"]:
            found, wanted = (ours(case, f, name).state_dict() for f in (family, expected))
            assert found.keys() == wanted.keys()
            assert all(torch.equal(value, wanted[key]) for key, value in found.items())


@each("checkpoint")
def test_written_file_is_the_read_one(case: Case) -> None:
    states = released(case)
    family = load(case, states)
    for name, state in states.items():
        written = to_official(ours(case, family, name))
        assert written.keys() == state.keys() - dropped(case, name)
        for key, value in written.items():
            assert value.dtype == state[key].dtype
            assert torch.equal(value, state[key])
