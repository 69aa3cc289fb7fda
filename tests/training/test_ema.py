"""Moving averages of weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from core.training.ema import Ema


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))


def set_weights(net: nn.Sequential, value: float) -> None:
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(value)


def test_weights_are_averaged_and_buffers_copied() -> None:
    net = network()
    set_weights(net, 0)
    ema = Ema({"G": net}, decay=0.75)
    set_weights(net, 8)
    ema.update()
    ema.update()
    average = ema.state_dict()["G"]
    assert average["0.weight"].unique().tolist() == [3.5]  # 8 * (1 - 0.75 ** 2)
    assert average["1.weight"].unique().tolist() == [3.5]
    assert average["1.running_mean"].unique().tolist() == [8]
    assert average["1.num_batches_tracked"].item() == 8


def test_applied_gives_the_weights_back_even_after_an_error() -> None:
    net = network()
    set_weights(net, 0)
    ema = Ema({"G": net}, decay=0.5)
    set_weights(net, 2)
    ema.update()
    with pytest.raises(ZeroDivisionError), ema.applied():
        assert net[0].weight.unique().tolist() == [1]
        raise ZeroDivisionError
    assert net[0].weight.unique().tolist() == [2]
    assert ema.state_dict()["G"]["0.weight"].unique().tolist() == [1]


def test_optimizer_still_moves_the_same_parameters() -> None:
    net = network()
    parameters = list(net.parameters())
    ema = Ema({"G": net}, decay=0.5)
    with ema.applied():
        pass
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))


def test_state_round_trip() -> None:
    net = network()
    ema = Ema({"G": net}, decay=0.9)
    set_weights(net, 3)
    ema.update()
    other = Ema({"G": network(), "H": network()}, decay=0.9)
    kept = copy.deepcopy(other.state_dict()["H"])
    other.load_state_dict(copy.deepcopy(ema.state_dict()))
    for key, value in ema.state_dict()["G"].items():
        assert torch.equal(other.state_dict()["G"][key], value)
    assert all(torch.equal(other.state_dict()["H"][key], kept[key]) for key in kept)


def test_decay_zero_keeps_none() -> None:
    net = network()
    ema = Ema({"G": net}, decay=0)
    ema.update()
    assert ema.state_dict() == {}
    before = net[0].weight.clone()
    with ema.applied():
        assert torch.equal(net[0].weight, before)
