"""Adversarial objectives and the gradient penalty, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.checkpoints.official_layout import official_names
from core.losses import dis_loss, gen_loss, gradient_penalty
from tests.reference.cases import Case, agree, each, loaded
from tests.reference.training import numbers_agree


@each("gan_losses")
def test_gan_losses(case: Case) -> None:
    gradients: dict[str, Tensor] = {}
    for name, value in case.data["losses"].items():
        mode, _, target = name.rpartition("_")
        prediction = case.input("prediction").requires_grad_()
        loss = dis_loss(prediction, mode, real=target == "real")
        loss.backward()
        assert loss.item() == pytest.approx(value, rel=1e-12, abs=1e-15), name
        assert prediction.grad is not None
        gradients[f"grad_{name}"] = prediction.grad
        if target == "real" and mode != "hinge":
            assert gen_loss(prediction, mode).item() == pytest.approx(value, rel=1e-12, abs=1e-15)
    agree(gradients, case.arrays, atol=1e-9)


@each("gradient_penalty")
def test_gradient_penalty(case: Case) -> None:
    (name,) = case.data["networks"]
    critic = loaded(case, name).train(case.data["mode"][name] == ["train"])
    ours = {v: k for k, v in official_names(critic).items()}
    slopes: dict[str, Tensor] = {}
    for loss_name, value in case.data["losses"].items():
        at = loss_name.removeprefix("gradient_penalty_")
        seen: list[Tensor] = []

        def judge(x: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(x)
            return critic(x)

        critic.zero_grad()
        penalty = gradient_penalty(
            judge,
            case.input("real"),
            case.input("fake"),
            alpha=torch.sigmoid(case.input("alpha_logit")) if at == "mixed" else None,
            at=at,
            constant=case.hyper["constant"],
            weight=case.hyper["lambda_gp"],
        )
        penalty.backward()
        assert penalty.item() == pytest.approx(value, rel=1e-9), at
        norms = {
            ours[key]: 0.0 if parameter.grad is None else parameter.grad.norm().item()
            for key, parameter in critic.named_parameters()
        }
        golden = case.data["grad_l2"][at]
        assert norms.keys() == golden.keys()
        numbers_agree(norms, golden, rel=1e-8, abs=1e-9, at=at)
        (x,) = seen
        (slopes[f"gradients_{at}"],) = torch.autograd.grad(critic(x).sum(), x)
    agree(slopes, case.arrays)
