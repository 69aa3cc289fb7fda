"""Adversarial objectives and the gradient penalty, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.checkpoints.official_layout import official_names
from core.losses import dis_loss, gen_loss, gradient_penalty
from tests.reference.cases import Case, close, each, loaded


@each("gan_losses")
def test_gan_losses(case: Case) -> None:
    golden = case.arrays
    for name, value in case.data["losses"].items():
        mode, _, target = name.rpartition("_")
        prediction = case.input("prediction").requires_grad_()
        loss = dis_loss(prediction, mode, real=target == "real")
        loss.backward()
        assert loss.item() == pytest.approx(value, rel=1e-12)
        close(prediction.grad, golden.pop(f"grad_{name}"), atol=1e-9)
        if target == "real" and mode != "hinge":
            assert gen_loss(prediction, mode).item() == pytest.approx(value, rel=1e-12)
    assert not golden


@each("gradient_penalty")
def test_gradient_penalty(case: Case) -> None:
    golden, prefix = case.arrays, "gradient_penalty_"
    alpha = torch.sigmoid(case.input("alpha_logit"))
    (name,) = case.data["networks"]
    critic = loaded(case, name).train(case.data["mode"][name] == ["train"])
    ours = {v: k for k, v in official_names(critic).items()}
    for loss_name, value in case.data["losses"].items():
        at = loss_name.removeprefix(prefix)
        seen: list[Tensor] = []

        def judge(x: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(x)
            return critic(x)

        critic.zero_grad()
        penalty = gradient_penalty(
            judge,
            case.input("real"),
            case.input("fake"),
            alpha=alpha,
            at=at,
            constant=case.hyper["constant"],
            weight=case.hyper["lambda_gp"],
        )
        penalty.backward()
        assert penalty.item() == pytest.approx(value, rel=1e-9)
        for key, parameter in critic.named_parameters():
            norm = 0.0 if parameter.grad is None else parameter.grad.norm().item()
            expected = case.data["grad_l2"][at][ours[key]]
            assert norm == pytest.approx(expected, rel=1e-8, abs=1e-9)
        (x,) = seen
        (gradients,) = torch.autograd.grad(critic(x).sum(), x)
        close(gradients, golden.pop(f"gradients_{at}"))
    assert not golden
