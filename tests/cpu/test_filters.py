"""Transformed filters are kept as long as the weight is as it was, whoever changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from core.cpu.accelerate import accelerate
from core.runtime.distributed import broadcast_networks
from core.training.ema import Ema
from core.training.update import Updater, clip_weights
from tests.cpu.convolutions import any_size, random

__all__ = ["any_size"]  # a fixture


def _stepped(make: Callable[..., Any], **options: Any) -> Callable[[nn.Module], None]:
    def step(conv: nn.Module) -> None:
        loss = conv(random(1, 3, 8, 8)).square().sum()
        Updater()(make(conv.parameters(), lr=0.1, **options), loss)

    return step


def _loaded(conv: nn.Module) -> None:
    conv.load_state_dict({key: value + 1 for key, value in conv.state_dict().items()})


def _broadcast(conv: nn.Module) -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    broadcast_networks([conv])
    dist.destroy_process_group()


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "fused Adam": _stepped(torch.optim.Adam, fused=True),
    "fused SGD": _stepped(torch.optim.SGD, fused=True),
    "foreach": _stepped(torch.optim.RMSprop, foreach=True),
    "one by one": _stepped(torch.optim.RMSprop, foreach=False),
    "clipped": lambda conv: clip_weights(conv, 0.1),
    "loaded": _loaded,
    "received": _broadcast,
    "moved": lambda conv: conv.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
}


@pytest.fixture
def conv() -> Any:
    layer = nn.Conv2d(3, 3, 3, padding=1).double()
    accelerate([layer], winograd=True, keep_memory=False)
    return layer


def check(conv: Any) -> None:
    x = random(1, 3, 8, 8)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))


@pytest.mark.parametrize("change", CHANGES)
def test_filters_follow_the_weight(change: str, conv: Any) -> None:
    check(conv)
    before = conv.kept.of(conv.weight, 4)
    conv(random(1, 3, 8, 8)).square().sum().backward()
    check(conv)
    assert conv.kept.of(conv.weight, 4) is before
    CHANGES[change](conv)
    assert conv.kept.of(conv.weight, 4) is not before
    check(conv)


def test_filters_follow_averages_there_and_back(conv: Any) -> None:
    ema = Ema({"conv": conv}, decay=0.5)
    _loaded(conv)
    ema.update()
    check(conv)
    with ema.applied():
        check(conv)
    check(conv)
