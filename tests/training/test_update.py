"""The one function that changes weights, and the learning rates."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from core.nn.norms import BatchNorm2d
from core.options import OptimOptions
from core.training.optimizers import adam
from core.training.schedule import Schedule, rate_factor
from core.training.update import Updater, frozen


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4), nn.Conv2d(4, 1, 3))


def images() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def step(net: nn.Module, optimizer: Any, update: Updater, factor: float = 1.0) -> None:
    update.begin()
    update(optimizer, net(images()).square().mean() * factor)
    update.finish()


def state_of(net: nn.Module, optimizer: Any) -> list[torch.Tensor]:
    moments = [value.clone() for entry in optimizer.state.values() for value in entry.values()]
    return [value.clone() for value in net.state_dict().values()] + moments


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("fused", [True, False])
def test_nonfinite_step_changes_nothing(factor: float, fused: bool) -> None:
    net = network()
    optimizer = adam([net], OptimOptions()) if fused else torch.optim.Adam(net.parameters())
    update = Updater("cpu", [net])
    step(net, optimizer, update)
    assert update.skipped.item() == 0
    before = state_of(net, optimizer)
    step(net, optimizer, update, factor)
    assert update.skipped.item() == 1
    assert all(map(torch.equal, before, state_of(net, optimizer)))
    step(net, optimizer, update)
    assert update.skipped.item() == 0
    assert not all(map(torch.equal, before, state_of(net, optimizer)))


def test_nonfinite_gradient_of_a_finite_loss() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
    update = Updater()
    update.begin()
    update(optimizer, weight.sqrt().sum())  # 0, with gradient 1/0
    assert update.skipped.item() == 1
    assert weight.item() == 0


def test_losses_are_summed_and_old_gradients_forgotten() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.full((3,), 100.0)
    Updater()(optimizer, weight[0] * 2, weight[1] * 3)
    assert weight.tolist() == [-1.0, -2.0, 1.0]


@pytest.mark.parametrize(("limit", "norm"), [(0.5, 0.5), (10.0, 5.0), (None, 5.0)])
def test_clipping(limit: float | None, norm: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    Updater(clip_grad_norm=limit)(optimizer, (weight * torch.tensor([3.0, 4.0])).sum())
    assert weight.norm().item() == pytest.approx(norm, rel=1e-5)


def test_adam_is_the_textbook_one() -> None:
    options = OptimOptions(lr=1e-3, beta1=0.3, beta2=0.9, eps=1e-6, weight_decay=0.1)
    a, b = network().double(), network().double()
    ours = adam([a], options)
    theirs = torch.optim.Adam(
        b.parameters(), 1e-3, betas=(0.3, 0.9), eps=1e-6, weight_decay=0.1, foreach=False
    )
    for _ in range(3):
        Updater()(ours, a(images().double()).square().mean())
        theirs.zero_grad()
        b(images().double()).square().mean().backward()
        theirs.step()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_frozen_restores_what_it_found() -> None:
    net = network()
    net[0].bias.requires_grad_(False)
    x = images().requires_grad_()
    with pytest.raises(ZeroDivisionError), frozen(net):
        assert not any(p.requires_grad for p in net.parameters())
        (gradient,) = torch.autograd.grad(net(x).sum(), x)
        assert gradient.abs().sum() > 0
        raise ZeroDivisionError
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True, True, True]


def test_fp16_scaler_skips_and_halves() -> None:
    net = network()
    optimizer = adam([net], OptimOptions())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    update = Updater("cpu", [net], clip_grad_norm=1.0, scaler=scaler)
    step(net, optimizer, update)
    before = state_of(net, optimizer)
    step(net, optimizer, update, math.inf)
    assert update.skipped.item() == 1
    assert all(map(torch.equal, before, state_of(net, optimizer)))
    assert scaler.get_scale() == 2.0**9


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("fused", [True, False])
def test_infinite_loss_with_a_finite_gradient_is_no_step(precision: str, fused: bool) -> None:
    """Whichever of loss and gradient is not finite, in every precision, before the step."""
    net = network()
    optimizer = adam([net], OptimOptions()) if fused else torch.optim.Adam(net.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0) if precision == "fp16" else None
    update = Updater("cpu", [net], scaler=scaler)
    step(net, optimizer, update)
    before = state_of(net, optimizer)
    update.begin()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = net(images()).square().mean()
    update(optimizer, loss.float(), torch.tensor(math.inf))
    update.finish()
    assert update.skipped.item() == 1
    assert all(map(torch.equal, before, state_of(net, optimizer)))


def test_fp16_gradients_that_are_never_finite_are_flagged() -> None:
    """While there is a scale to halve it is the scaler's business; at 1 it is an alarm."""
    weight = nn.Parameter(torch.zeros(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    update, flags = Updater(scaler=scaler), []
    for _ in range(4):
        update.begin()
        update(adam([nn.ParameterList([weight])], OptimOptions()), weight.sqrt().sum())
        update.finish()
        flags.append(int(update.skipped.item()))
    assert flags == [0, 0, 1, 1]


def test_a_network_used_again_sees_its_new_weights_under_autocast() -> None:
    net, x = nn.Linear(4, 4), torch.ones(1, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        Updater()(optimizer, net(x).sum())
        again = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(again, net(x))


def test_keeping_buffers_takes_a_few_operations_however_many_there_are() -> None:
    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    net = nn.Sequential(*(BatchNorm2d(4) for _ in range(20)))
    update = Updater("cpu", [net])
    with Counter() as counter:
        update.begin()
        update.finish()
    assert counter.count < 15
    net(images()[:, :1].expand(2, 4, 8, 8))
    assert all(int(norm.num_batches_tracked) == 1 for norm in net)  # type: ignore[arg-type]


def test_fp16_scaled_step_is_the_plain_one() -> None:
    a, b = network(), network()
    plain, scaled = adam([a], OptimOptions()), adam([b], OptimOptions())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    step(a, plain, Updater("cpu", [a]))
    step(b, scaled, Updater("cpu", [b], scaler=scaler))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(("general", "own", "norm"), [(None, 1.0, 1.0), (2.0, 3.0, 2.0)])
def test_clipping_of_one_update(general: float | None, own: float, norm: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    update = Updater(clip_grad_norm=general)
    update(optimizer, (weight * torch.tensor([3.0, 4.0])).sum(), clip_grad_norm=own)
    assert weight.norm().item() == pytest.approx(norm, rel=1e-5)


def two_turns(update: Updater, factor: float = 1.0) -> list[Tensor]:
    """Weights of two layers after a step on both and a step on the first, over one graph."""
    torch.manual_seed(0)
    first, second = nn.Linear(3, 3), nn.Linear(3, 1)
    one, two = (torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (first, second))
    hidden = first(torch.ones(2, 3))
    losses = second(hidden.square()).sum(), hidden.pow(3).mean() * factor
    update.step_together(([one, two], losses[:1]), ([one], losses[1:]))
    return [*first.parameters(), *second.parameters()]


def test_step_together_takes_every_gradient_at_the_same_weights() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 3), nn.Linear(3, 1)
    parameters = [*first.parameters(), *second.parameters()]
    hidden = first(torch.ones(2, 3))
    once = torch.autograd.grad(second(hidden.square()).sum(), parameters, retain_graph=True)
    again = torch.autograd.grad(hidden.pow(3).mean(), parameters[:2])
    expected = [p - 0.1 * g for p, g in zip(parameters, once, strict=True)]
    expected[:2] = [p - 0.1 * g for p, g in zip(expected[:2], again, strict=True)]
    torch.testing.assert_close(two_turns(Updater()), expected)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    torch.testing.assert_close(two_turns(Updater(scaler=scaler)), expected)


@pytest.mark.parametrize("fp16", [False, True])
def test_step_together_takes_all_steps_or_none(fp16: bool) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if fp16 else None
    update = Updater(scaler=scaler)
    after = two_turns(update, math.inf)
    assert update.skipped.item() == 1
    torch.manual_seed(0)
    before = [*nn.Linear(3, 3).parameters(), *nn.Linear(3, 1).parameters()]
    assert all(map(torch.equal, after, before))
    if scaler is not None:
        update.finish()
        assert scaler.get_scale() == 2.0**9


def factor(policy: str, e: int, hold: int = 100, decay: int = 100) -> float:
    return rate_factor(policy, e, hold=hold, decay=decay, decay_every=50, decay_factor=0.1)


def test_closed_forms() -> None:
    assert factor("linear", 1) == factor("linear", 99) == 1
    assert factor("linear", 100) == pytest.approx(100 / 101)
    assert factor("linear", 200) == 0
    assert factor("linear_legacy", 100) == 1
    assert factor("linear_legacy", 200) == pytest.approx(1 / 101)
    assert [factor("step", e) for e in (49, 50, 100)] == pytest.approx([1, 0.1, 0.01])
    assert factor("cosine", 50) == pytest.approx(0.5)
    assert factor("cosine", 100) == pytest.approx(0, abs=1e-15)
    assert factor("constant", 12345) == 1


@given(
    policy=st.sampled_from(["linear", "linear_legacy", "step", "cosine", "constant"]),
    e=st.integers(1, 10_000),
    hold=st.integers(0, 1000),
    decay=st.integers(0, 1000),
)
@settings(deadline=None)
def test_factor_is_a_share(policy: str, e: int, hold: int, decay: int) -> None:
    assert 0 <= factor(policy, e, hold, decay) <= 1


@pytest.mark.parametrize("policy", ["linear", "step", "cosine", "plateau", "constant"])
@pytest.mark.parametrize("stop", [1, 3, 9])
def test_schedule_resumes(policy: str, stop: int) -> None:
    """Rates after a restart are those of a run without one."""
    options = OptimOptions(lr=0.1, policy=policy, decay_every=4)

    def fresh() -> tuple[torch.optim.Optimizer, Schedule]:
        optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=options.lr)
        return optimizer, Schedule([optimizer], options, hold=6, decay=12)

    def metric(e: int) -> float:
        return max(1.0, 5.0 - e)

    optimizer, schedule = fresh()
    rates = []
    for e in range(1, 19):
        schedule.advance(e, metric(e))
        schedule.advance(e, metric(e))  # entering the same epoch again counts once
        rates.append(schedule.rate)
        if e == stop:
            saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    optimizer, schedule = fresh()
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert schedule.position == stop
    again = []
    for e in range(stop, 19):
        schedule.advance(e, metric(e))
        again.append(schedule.rate)
    assert again == rates[stop - 1 :]


def test_formula_may_count_from_zero() -> None:
    rates = {}
    for first in (0, 1):
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        options = OptimOptions(policy="linear_legacy", first_epoch=first)
        schedule = Schedule([optimizer], options, hold=2, decay=3)
        for e in range(1, 6):
            schedule.advance(e)
            rates[first, e] = schedule.rate
    assert [rates[1, e] for e in range(1, 6)] == [1, 1, 0.75, 0.5, 0.25]
    assert [rates[0, e] for e in range(2, 6)] == [rates[1, e] for e in range(1, 5)]


def test_every_optimizer_keeps_its_own_rate() -> None:
    fast, slow = (torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr) for lr in (1.0, 0.1))
    schedule = Schedule([fast, slow], OptimOptions(policy="linear"), hold=0, decay=3)
    schedule.advance(1)
    assert [o.param_groups[0]["lr"] for o in (fast, slow)] == pytest.approx([0.5, 0.05])
