"""The objectives of DCGAN and LSGAN with any labels; pure functions of tensors."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from core.losses import full_precision

Objective = Literal["vanilla", "lsgan"]


def adversarial_loss(
    logits: Tensor, labels: Tensor, objective: Objective, weights: Tensor | None = None
) -> Tensor:
    """Compare what D says, logits [N], with labels [N], averaged over the batch.

    `vanilla`: binary cross-entropy of sigmoid(logits). `lsgan`: (logits - label)^2 / 2, the 1/2 in
    every term as in Mao et al. 2017, eq. 2. Half precision is computed in float32. With `weights`
    [N] of the samples the mean still divides by N (Torch's BCECriterion).
    """
    logits = full_precision(logits)
    labels = labels.to(logits.dtype)
    if objective == "lsgan":
        losses = 0.5 * (logits - labels).square()
    else:
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (losses if weights is None else losses * weights).mean()


def mean_score(logits: Tensor, objective: Objective) -> Tensor:
    """Average what D says, D(x) of the published log; a probability for `vanilla`."""
    logits = full_precision(logits)
    return (logits.sigmoid() if objective == "vanilla" else logits).mean()
