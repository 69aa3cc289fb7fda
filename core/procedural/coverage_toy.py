"""Train four GAN objectives on 25 Gaussians: same networks, same number of generator updates.

The data are a grid of narrow Gaussians (Metz et al. 2017, and the WGAN-GP authors' `gan_toy.py`,
scaled to about unit variance as there): a GAN that drops modes is seen at once. Small perceptrons
as in `gan_toy.py`, each objective with its paper's optimizer and, as published, one discriminator
or five critic updates per generator update: the Wasserstein objectives see five times the data and
take five times as long.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from core.losses import GanMode, dis_loss, gen_loss, gradient_penalty
from core.nn.perceptron import perceptron
from core.options import OptimOptions
from core.procedural.mode_coverage import ModeCoverage, gaussian_coverage
from core.training.optimizers import adam, rmsprop
from core.training.update import Updater, clip_weights, frozen

SIDE = 5
_SCALE = 2.828
STD = 0.05 / _SCALE
"""Standard deviation of each Gaussian, in each direction."""
NOISE_DIM = 2
CLIP = 0.01
LAMBDA_GP = 0.1
"""The authors' weight for this toy, where images have 10."""


def gaussian_modes() -> Tensor:
    """Return the centres, [SIDE * SIDE, 2], float32, rows from the lower left."""
    line = (torch.arange(SIDE) - (SIDE - 1) / 2) * 2 / _SCALE
    return torch.cartesian_prod(line, line)


def draw_gaussians(num: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw points of the mixture, [num, 2], float32; every mode is equally likely."""
    modes = gaussian_modes()
    which = torch.randint(len(modes), (num,), generator=generator)
    return modes[which] + STD * torch.randn(num, 2, generator=generator)


@dataclass(frozen=True)
class Objective:
    """One way to train; the optimizer is Adam, with `clip` RMSprop."""

    mode: GanMode
    constraint: Literal["none", "clip", "penalty"]
    """What keeps a Wasserstein critic Lipschitz."""
    optim: OptimOptions
    num_critic: int = 1
    """Discriminator updates per generator update."""


OBJECTIVES: dict[str, Objective] = {
    "vanilla": Objective("vanilla", "none", OptimOptions(lr=1e-3)),
    "lsgan": Objective("lsgan", "none", OptimOptions(lr=1e-3)),
    "wgan": Objective("wgangp", "clip", OptimOptions(lr=2.5e-4), 5),
    "wgan-gp": Objective("wgangp", "penalty", OptimOptions(lr=5e-4, beta2=0.9), 5),
}
"""Five times the published rates (DCGAN's, the WGAN papers'), so that minutes show something."""


@dataclass(frozen=True)
class ToyResult:
    """What one objective reaches; `samples` is [10000, 2], `seconds` is wall time."""

    coverage: ModeCoverage
    samples: Tensor
    num_batches: int
    seconds: float


def train_toy(
    objective: Objective, *, updates: int, batch_size: int = 256, width: int = 128, seed: int = 0
) -> ToyResult:
    """Train for so many generator `updates` and measure on 10,000 samples."""
    torch.manual_seed(seed)
    gen, critic = perceptron(NOISE_DIM, width, 2), perceptron(2, width, 1)
    mode, clip = objective.mode, objective.constraint == "clip"
    opt_gen, opt_critic = (
        rmsprop([network], objective.optim, 0.99) if clip else adam([network], objective.optim)
        for network in (gen, critic)
    )
    update, generator = Updater("cpu", [gen, critic]), torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for _ in tqdm(range(updates), desc="25 Gaussians", unit="update"):
        for _ in range(objective.num_critic):
            real = draw_gaussians(batch_size, generator)
            with torch.no_grad():
                fake = gen(torch.randn(batch_size, NOISE_DIM))
            losses = [dis_loss(critic(x), mode, real=x is real) for x in (real, fake)]
            if objective.constraint == "penalty":
                losses.append(gradient_penalty(critic, real, fake, weight=LAMBDA_GP))
            update(opt_critic, *losses)
            if clip:
                clip_weights(critic, CLIP)
        with frozen(critic):
            update(opt_gen, gen_loss(critic(gen(torch.randn(batch_size, NOISE_DIM))), mode))
    seconds = time.perf_counter() - started
    with torch.no_grad():
        samples = gen(torch.randn(10_000, NOISE_DIM))
    coverage = gaussian_coverage(samples, gaussian_modes(), STD)
    return ToyResult(coverage, samples, updates * objective.num_critic, seconds)
