"""`train.speed` leaves what is given, takes what the device is fast at, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.errors import UserError
from core.options import TrainOptions
from core.training import speed
from core.training.speed import arranged, told
from core.training.update import step_unless

CPU, GPU = torch.device("cpu"), torch.device("cuda")
WIDE = nn.Conv2d(128, 128, 3)
NARROW = nn.Sequential(nn.Conv2d(8, 8, 3), nn.InstanceNorm2d(8))
BATCH = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))


def switches(options: dict[str, Any], network: nn.Module, device: torch.device = CPU) -> list[Any]:
    taken = arranged(TrainOptions(**options), [network], device)
    return [taken.channels_last, taken.winograd, taken.keep_memory]


@pytest.mark.parametrize("avx512", [False, True])
def test_wide_networks_take_everything_on_a_cpu(
    avx512: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_has_avx512", lambda: avx512)
    assert switches({}, WIDE) == [True, True, True]
    assert switches({}, BATCH) == [True, True, False]
    assert switches({}, NARROW) == [avx512, avx512, False]


def test_what_is_given_stays() -> None:
    assert switches({"speed": "off"}, WIDE) == [False, False, False]
    assert switches({"speed": "off", "winograd": True}, WIDE) == [False, True, False]
    assert switches({"channels_last": False}, WIDE) == [False, True, True]


def test_half_precision_has_no_use_for_winograd() -> None:
    assert switches({"precision": "bf16"}, WIDE) == [False, False, False]
    assert switches({"precision": "bf16"}, BATCH, GPU) == [True, False, False]
    # Instance norms give contiguous images, whatever they are given.
    assert switches({"precision": "bf16"}, NARROW, GPU) == [False, False, False]
    assert switches({}, WIDE, GPU) == [False, False, False]


def test_emulated_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "emulates_bf16", lambda _: True)
    with pytest.raises(UserError, match="no bf16 instructions"):
        arranged(TrainOptions(precision="bf16"), [WIDE], CPU)


def test_bf16_is_advised_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "has_fast_bf16", lambda _: True)
    line = told(arranged(TrainOptions(), [WIDE], CPU), CPU)
    assert "channels_last" in line and "train.precision=bf16 would be faster" in line
    assert told(TrainOptions(speed="off"), CPU) == "speed: as torch has it"


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_step_is_taken_back_without_a_flag(steps_before: int) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.RMSprop([weight], lr=0.1)
    for _ in range(steps_before):
        weight.grad = torch.ones(3)
        step_unless(torch.zeros(()), optimizer)
    assert bool((weight < 1).all()) == bool(steps_before)
    kept, moments = weight.detach().clone(), dict(optimizer.state[weight])
    moments = {key: value.clone() for key, value in moments.items()}
    weight.grad = torch.full((3,), torch.nan)
    step_unless(torch.ones(()), optimizer)
    torch.testing.assert_close(weight.detach(), kept)
    expected = moments.get("square_avg", torch.zeros(3))
    torch.testing.assert_close(optimizer.state[weight]["square_avg"], expected)
