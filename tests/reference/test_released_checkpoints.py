"""Released files: read through the family's `official.py`, and written back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import cyclegan.official
import pix2pix.official
from core.checkpoints.official_layout import to_official
from tests.reference.cases import Case, DropoutMasks, close, each

OFFICIAL = {"cyclegan": cyclegan.official, "pix2pix": pix2pix.official}
States = dict[str, dict[str, Tensor]]


@cache
def released(case: Case) -> States:
    return {name: case.weights(name) for name in case.data["spec"]}


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


def without(states: States, *endings: str) -> States:
    return {
        name: {key: value for key, value in state.items() if not key.endswith(endings)}
        for name, state in states.items()
    }


def dropped(case: Case, name: str) -> set[str]:
    return set(case.data.get("drop_on_load", {}).get(name, ()))


@each("checkpoint")
def test_output_of_the_released_network(case: Case) -> None:
    family, golden = load(case, released(case)), case.arrays
    for name, modes in case.data["mode"].items():
        for mode in modes:
            output = run(case, family, name, mode, torch.float64)
            close(output, golden.get(f"{name}_{mode}", golden.get(name)))


@each("checkpoint")
def test_dropped_entries_change_nothing(case: Case) -> None:
    states = released(case)
    plain = {
        name: {key: value for key, value in state.items() if key not in dropped(case, name)}
        for name, state in states.items()
    }
    wild = {
        name: {k: torch.full_like(v, 7) if k in dropped(case, name) else v for k, v in s.items()}
        for name, s in states.items()
    }
    for name in case.data["mode"]:
        outputs = [run(case, load(case, some), name) for some in (states, plain, wild)]
        assert torch.equal(outputs[0], outputs[1])
        assert torch.equal(outputs[0], outputs[2])


@each("checkpoint")
@pytest.mark.parametrize("variant", ["before_0_4_1", "module_prefix"])
def test_old_and_wrapped_files(case: Case, variant: str) -> None:
    states = released(case)
    if variant == "before_0_4_1":
        changed = without(states, "num_batches_tracked")
    else:
        changed = {n: {f"module.{k}": v for k, v in s.items()} for n, s in states.items()}
    for name in case.data["mode"]:
        expected, output = (run(case, load(case, some), name) for some in (states, changed))
        assert torch.equal(output, expected)


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
