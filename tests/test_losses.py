"""Adversarial objectives against their definitions; the published values are reference cases."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.losses import GanMode, dis_loss, gen_loss, gradient_penalty, l1
from pix2pix.family import pair

P = torch.tensor([-2.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64)
MODES: list[GanMode] = ["lsgan", "vanilla", "wgangp", "hinge"]


def test_hinge() -> None:
    assert dis_loss(P, "hinge", real=True).item() == pytest.approx((3 + 1.5 + 1 + 0.5 + 0) / 5)
    assert dis_loss(P, "hinge", real=False).item() == pytest.approx((0 + 0.5 + 1 + 1.5 + 4) / 5)
    assert gen_loss(P, "hinge").item() == pytest.approx(-P.mean().item())


@pytest.mark.parametrize("real", [True, False])
def test_definitions(real: bool) -> None:
    target = torch.full_like(P, float(real))
    assert dis_loss(P, "lsgan", real=real) == F.mse_loss(P, target)
    bce = F.binary_cross_entropy_with_logits(P, target)
    torch.testing.assert_close(dis_loss(P, "vanilla", real=real), bce)
    assert dis_loss(P, "wgangp", real=real) == (-P.mean() if real else P.mean())


@pytest.mark.parametrize("mode", ["lsgan", "vanilla", "wgangp"])
def test_generator_wants_real(mode: GanMode) -> None:
    assert gen_loss(P, mode) == dis_loss(P, mode, real=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(mode: GanMode, dtype: torch.dtype) -> None:
    p = torch.full((70_000,), 30.0, dtype=dtype)  # the sum and the squares overflow float16
    for loss in (dis_loss(p, mode, real=False), gen_loss(p, mode), l1(p, -p)):
        assert loss.dtype == torch.float32
        assert loss.isfinite()


@given(logit=st.floats(-1e4, 1e4))
@settings(deadline=None)
def test_vanilla_stays_finite(logit: float) -> None:
    p = torch.tensor([logit], requires_grad=True)
    loss = dis_loss(p, "vanilla", real=True)
    loss.backward()
    assert loss.isfinite()
    assert p.grad is not None
    assert -1 <= p.grad.item() <= 0


def test_l1_is_a_mean() -> None:
    assert l1(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)).item() == 0.5


def test_pair_puts_the_condition_first() -> None:
    both = pair(torch.zeros(1, 1, 2, 2), torch.ones(1, 3, 2, 2))
    assert both[0, :, 0, 0].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("at", ["mixed", "real", "fake"])
def test_penalty_of_a_linear_critic(at: str) -> None:
    """Its gradient is its weight everywhere, so the penalty is known."""
    critic = nn.Linear(4, 1).double()
    norm = critic.weight.norm()
    real, fake = torch.randn(2, 5, 4, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, at=at, constant=2.0, weight=3.0)  # type: ignore[arg-type]
    torch.testing.assert_close(penalty, 3 * (norm - 2).square())
    penalty.backward()
    assert critic.weight.grad is not None
    expected = 6 * (norm - 2) * critic.weight / norm
    torch.testing.assert_close(critic.weight.grad, expected.detach())


def test_penalty_leaves_the_images_alone() -> None:
    generator_output = torch.randn(2, 3, requires_grad=True)
    real, fake = torch.randn(2, 3), generator_output * 2
    gradient_penalty(lambda x: x.square(), real, fake).backward()
    assert generator_output.grad is None
    assert not real.requires_grad


def test_penalty_runs_in_full_precision_under_autocast() -> None:
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 3))
    real, fake = torch.randn(2, 2, 3, 8, 8)
    alpha = torch.rand(2, 1)
    plain = gradient_penalty(critic, real, fake, alpha=alpha)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = gradient_penalty(critic, real, fake, alpha=alpha)
    assert torch.equal(plain, mixed)
