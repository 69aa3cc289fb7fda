"""DRIT's terms (Lee et al. 2018, section 3; Mao et al. 2019 for mode seeking); pure functions.

All adversarial terms are binary cross-entropies. A discriminator answers with one map of logits per
scale; a term is the sum over scales of each map's mean.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from core.losses import average, dis_loss, gen_loss, l1
from core.noise import batch_mean

Logits = Sequence[Tensor]
"""One discriminator's answer: a map per scale."""


def judged(logits: Logits, *, real: bool) -> Tensor:
    """Return what a discriminator minimises for one batch of real or of fake images."""
    return sum((dis_loss(each, "vanilla", real=real) for each in logits), start=_zero(logits))


def fooled(logits: Logits) -> Tensor:
    """Return what the generator minimises: its images judged as real."""
    return sum((gen_loss(each, "vanilla") for each in logits), start=_zero(logits))


def undecided(logits: Logits) -> Tensor:
    """Return the encoder's content adversarial term: cross-entropy of the content judged 1/2.

    Its minimum is log 2. (The paper's equation 1 has log D + log (1 - D) for both domains.)
    """
    halves = (0.5 * (judged([e], real=True) + judged([e], real=False)) for e in logits)
    return sum(halves, start=_zero(logits))


def _zero(logits: Logits) -> Tensor:
    return logits[0].new_zeros(())


def attribute_prior(mean: Tensor, logvar: Tensor | None) -> Tensor:
    """Return the distance from N(0, 1) of attributes with mean and log-variance [N, nz].

    It is the Kullback-Leibler divergence summed over the dimensions (mean over the batch, which is
    one sample by the published rule); without a log-variance, the mean square.
    """
    if logvar is None:
        return mean.square().mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return divergence.sum(1).mean()


def content_prior(content: Tensor) -> Tensor:
    """Return the mean square of a content code, its noise included."""
    return average(content.square())


def mode_seeking(images: Sequence[Tensor], codes: Sequence[Tensor]) -> Tensor:
    """Punish two codes for giving the same image (Mao et al. 2019, eq. 3, as a term to minimise).

    Of two batches of images [N, C, H, W] from the same contents, made with attributes [N, nz]: 1 /
    (mean |images_2 - images_1| / mean |codes_2 - codes_1| + 1e-5).
    """
    apart, asked = l1(images[1], images[0]), F.l1_loss(codes[1], codes[0])
    return 1 / (batch_mean(apart) / batch_mean(asked) + 1e-5)
