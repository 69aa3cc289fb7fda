"""Adversarial objectives, penalties and augmentation that two or more families use.

Predictions are logits or critic values of any shape; reductions run over every element. All are
computed in float32 whatever the autocast type, in float64 for float64 input.

Differentiable augmentation is Zhao, Liu, Lin, Zhu, Han: *Differentiable Augmentation for
Data-Efficient GAN Training* (NeurIPS 2020). Real and generated images are changed alike, in either
update, and gradients reach the generator through the changes. So the discriminator cannot learn a
small data set by heart, and the generator still learns the images as they are. Strengths are those
of the official `DiffAugment_pytorch.py`; a gradient penalty is taken at mixtures of changed images,
as in the official code.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.noise import uniform

GanMode = Literal["lsgan", "vanilla", "wgangp", "hinge"]
DiffAug = tuple[Literal["color", "translation", "cutout"], ...]
"""What is changed in images that a discriminator sees, in this order; none: nothing."""

_SHIFT, _HOLE = 0.125, 0.5  # of an image's side


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


def allow_tf32(allowed: bool) -> None:
    """Let GPUs since Ampere round the factors of fp32 products to ten bits (TF32), or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def _in_full() -> Iterator[None]:
    """Within, products on GPUs have all digits of fp32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    allow_tf32(False)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


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
    outputs, 1e-16 added to every element before the norm. Runs outside autocast and without TF32:
    second-order gradients in few digits are not trustworthy. A module runs eagerly here, by its
    `forward`, also if it has been compiled in place: torch.compile has no double backward.

    Args:
        critic: the discriminator, or a function of images alone.
        real: [N, C, H, W], as the next; both are detached here.
        fake: likewise.
        alpha: [N, 1] in [0, 1]; drawn uniformly if not given.
        at: where to evaluate.
        constant: target norm.
        weight: lambda.
    """
    with torch.autocast(real.device.type, enabled=False), _in_full():
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


def augmented(images: Tensor, changes: DiffAug, channels: Sequence[int] | None = None) -> Tensor:
    """Change each image at random: its colours, its place, and a hole in it.

    Args:
        images: [N, C, H, W] in [-1, 1].
        changes: Which changes; none returns the images themselves and draws nothing.
        channels: Of the pictures that lie on each other in C, such as a condition and an image. All
            meet the same changes; colours are mixed within each.

    Returns:
        [N, C, H, W], float32 at least; colours may leave [-1, 1], and 0 (gray) is what comes in
        from outside and fills holes.
    """
    if not changes:
        return images
    images = full_precision(images)
    for change in changes:
        if change == "color":
            u = uniform(images, len(images), 3)
            parts = images.split(list(channels or images.shape[1:2]), 1)
            images = torch.cat([recoloured(part, u) for part in parts], 1)
        else:
            u = uniform(images, len(images), 2)
            images = moved(images, u) if change == "translation" else with_hole(images, u)
    return images


def recoloured(images: Tensor, u: Tensor) -> Tensor:
    """Change brightness by up to 0.5, then saturation by 0 to 2, then contrast by 0.5 to 1.5 times.

    Args:
        images: [N, C, H, W].
        u: [N, 3] in [0, 1), for the three.
    """
    brightness, saturation, contrast = u.view(-1, 3, 1, 1, 1).unbind(1)
    images = images + (brightness - 0.5)
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def moved(images: Tensor, u: Tensor) -> Tensor:
    """Move images [N, C, H, W] by up to an eighth of their sides; `u` is [N, 2] in [0, 1)."""
    for dim, drawn in zip((2, 3), u.unbind(1), strict=True):
        side = images.shape[dim]
        largest = int(side * _SHIFT + 0.5)
        shift = _integers(drawn, 2 * largest + 1) - largest
        source = torch.arange(side, device=u.device) + shift[:, None]  # [N, side]
        inside = (source >= 0) & (source < side)
        shape = (-1, 1, side, 1) if dim == 2 else (-1, 1, 1, side)
        index = source.clamp(0, side - 1).view(shape).expand_as(images)
        images = images.gather(dim, index) * inside.view(shape)
    return images


def with_hole(images: Tensor, u: Tensor) -> Tensor:
    """Cut a hole of half an image's sides, perhaps partly outside; `u` is [N, 2] in [0, 1)."""
    within = []
    for side, drawn in zip(images.shape[2:], u.unbind(1), strict=True):
        length = int(side * _HOLE + 0.5)
        first = _integers(drawn, side + 1 - length % 2) - length // 2
        distance = torch.arange(side, device=u.device) - first[:, None]  # [N, side]
        within.append((distance >= 0) & (distance < length))
    rows, columns = within
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _integers(u: Tensor, number: int) -> Tensor:
    """Turn numbers in [0, 1) into integers 0 to `number` - 1, all with the same chance."""
    return (u * number).long().clamp(max=number - 1)  # a product can be rounded up to `number`
