"""Adversarial objectives and penalties that two or more families use; pure functions of tensors.

Predictions are logits or critic values of any shape; reductions run over every element. All are
computed in float32 whatever the autocast type, in float64 for float64 input.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.noise import uniform

GanMode = Literal["lsgan", "vanilla", "wgangp", "hinge"]


def full_precision(x: Tensor) -> Tensor:
    """Turn half precision into float32; float32 and float64 stay."""
    return x.float() if x.dtype.itemsize < 4 else x


def average(x: Tensor) -> Tensor:
    """Average every element, with a gradient in the layout of x, which `Tensor.mean` loses."""
    return x.sum() / x.numel()


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean absolute difference over every element."""
    return average((full_precision(x) - full_precision(y)).abs())


def dis_loss(prediction: Tensor, mode: GanMode, *, real: bool) -> Tensor:
    """Return what the discriminator minimises for one prediction, without any factor 1/2.

    `lsgan` (Mao et al. 2017): mean (p - t)^2 with t = 1 real, 0 fake. `vanilla`: binary
    cross-entropy with logits. `wgangp`: -mean p for real, mean p for fake (the penalty is
    `gradient_penalty`). `hinge` (Miyato et al. 2018): mean relu(1 - p) for real, relu(1 + p) for
    fake.
    """
    p = full_precision(prediction)
    if mode == "lsgan":
        return (p - float(real)).square().mean()
    if mode == "vanilla":
        return F.softplus(-p if real else p).mean()
    if mode == "wgangp":
        return -p.mean() if real else p.mean()
    return F.relu(1 - p if real else 1 + p).mean()


def gen_loss(prediction_fake: Tensor, mode: GanMode) -> Tensor:
    """Return what the generator minimises: its fakes judged as real (non-saturating).

    Equal to `dis_loss(..., real=True)` except for `hinge`, where it is -mean p.
    """
    if mode == "hinge":
        return -full_precision(prediction_fake).mean()
    return dis_loss(prediction_fake, mode, real=True)


def gradient_penalty(
    critic: nn.Module | Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    alpha: Tensor | None = None,
    at: Literal["mixed", "real", "fake"] = "mixed",
    constant: float = 1.0,
    weight: float = 10.0,
) -> Tensor:
    """Return weight * mean((||grad_x sum D(x)|| - constant)^2), WGAN-GP (Gulrajani et al. 2017).

    As the official CycleGAN helper computes it: x = alpha * real + (1 - alpha) * fake with one
    alpha per sample, or the real or fake images themselves (`at`), the gradient of the SUM of all
    outputs, 1e-16 added to every element before the norm. Runs outside autocast: second-order
    gradients in half precision are not trustworthy. A module runs eagerly here, by its `forward`,
    also if it has been compiled in place: torch.compile has no double backward.

    Args:
        critic: the discriminator, or a function of images alone.
        real: [N, C, H, W], as the next; both are detached here.
        fake: likewise.
        alpha: [N, 1] in [0, 1]; drawn uniformly if not given.
        at: where to evaluate.
        constant: target norm.
        weight: lambda.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = full_precision(real.detach()), full_precision(fake.detach())
        if at == "mixed":
            if alpha is None:
                alpha = uniform(real, real.shape[0], 1)
            alpha = alpha.reshape(-1, *[1] * (real.dim() - 1))
            x = alpha * real + (1 - alpha) * fake
        else:
            x = real if at == "real" else fake
        x = x.requires_grad_()
        judge = critic.forward if isinstance(critic, nn.Module) else critic
        (gradients,) = torch.autograd.grad(judge(x).sum(), x, create_graph=True)
        norms = (gradients.flatten(1) + 1e-16).norm(2, dim=1)
        return weight * (norms - constant).square().mean()
