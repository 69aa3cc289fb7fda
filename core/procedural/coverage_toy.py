"""Four GAN objectives on the 25 Gaussians: same networks, same number of generator updates.

Small perceptrons as in the WGAN-GP authors' `gan_toy.py`, each objective with the optimizer its
paper used and, as published, one discriminator or five critic updates per generator update: the
Wasserstein objectives see five times the data and take five times as long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from core.losses import GanMode, dis_loss, gen_loss, gradient_penalty
from core.options import OptimOptions
from core.procedural.gaussians import STD, draw_gaussians, gaussian_modes
from core.procedural.mode_coverage import ModeCoverage, gaussian_coverage
from core.training.optimizers import adam, rmsprop
from core.training.update import Updater, clip_weights, frozen

NOISE_DIM = 2


@dataclass(frozen=True)
class Objective:
    """One way to train.

    Attributes:
        mode: the adversarial loss.
        constraint: what keeps a Wasserstein critic Lipschitz.
        optim: rate and betas of both optimizers (Adam; RMSprop with `clip`).
        num_critic: discriminator updates per generator update.
    """

    mode: GanMode
    constraint: Literal["none", "clip", "penalty"]
    optim: OptimOptions
    num_critic: int = 1


OBJECTIVES: dict[str, Objective] = {
    "vanilla": Objective("vanilla", "none", OptimOptions(lr=1e-3)),
    "lsgan": Objective("lsgan", "none", OptimOptions(lr=1e-3)),
    "wgan": Objective("wgangp", "clip", OptimOptions(lr=2.5e-4), 5),
    "wgan-gp": Objective("wgangp", "penalty", OptimOptions(lr=5e-4, beta2=0.9), 5),
}
"""Five times the published rates (DCGAN's, the WGAN papers'), so that minutes show something."""
CLIP = 0.01
LAMBDA_GP = 0.1
"""The authors' weight for this toy, where images have 10."""


def perceptron(size_in: int, size_out: int, width: int) -> nn.Sequential:
    """Three hidden layers of `width` with ReLU."""
    layers: list[nn.Module] = []
    for a, b in ((size_in, width), (width, width), (width, width)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, size_out))


@dataclass(frozen=True)
class ToyResult:
    """What one objective came to.

    Attributes:
        coverage: of 10,000 samples.
        samples: [10000, 2].
        num_batches: of data that it saw.
        seconds: wall time of the training.
    """

    coverage: ModeCoverage
    samples: Tensor
    num_batches: int
    seconds: float


def train_toy(
    objective: Objective, *, updates: int, batch_size: int = 256, width: int = 128, seed: int = 0
) -> ToyResult:
    """Train for so many generator `updates` and measure on 10,000 samples."""
    torch.manual_seed(seed)
    gen, critic = perceptron(NOISE_DIM, 2, width), perceptron(2, 1, width)
    clip = objective.constraint == "clip"
    opt_gen, opt_critic = (
        rmsprop([network], objective.optim, 0.99) if clip else adam([network], objective.optim)
        for network in (gen, critic)
    )
    update, generator = Updater("cpu", [gen, critic]), torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for _ in tqdm(range(updates), desc="25 Gaussians", unit="update"):
        for _ in range(objective.num_critic):
            real = draw_gaussians(batch_size, generator)
            _critic_step(objective, gen, critic, real, opt_critic, update)
        with frozen(critic):
            fake = gen(torch.randn(batch_size, NOISE_DIM))
            update(opt_gen, gen_loss(critic(fake), objective.mode))
    seconds = time.perf_counter() - started
    with torch.no_grad():
        samples = gen(torch.randn(10_000, NOISE_DIM))
    coverage = gaussian_coverage(samples, gaussian_modes(), STD)
    return ToyResult(coverage, samples, updates * objective.num_critic, seconds)


def _critic_step(
    objective: Objective,
    gen: nn.Module,
    critic: nn.Module,
    real: Tensor,
    optimizer: Optimizer,
    update: Updater,
) -> None:
    with torch.no_grad():
        fake = gen(torch.randn(len(real), NOISE_DIM))
    losses = [
        dis_loss(critic(real), objective.mode, real=True),
        dis_loss(critic(fake), objective.mode, real=False),
    ]
    if objective.constraint == "penalty":
        losses.append(gradient_penalty(critic, real, fake, weight=LAMBDA_GP))
    update(optimizer, *losses)
    if objective.constraint == "clip":
        clip_weights(critic, CLIP)
