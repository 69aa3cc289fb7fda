"""CUT's own term, the patchwise contrastive loss; pure functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses import full_precision

_NO_MATCH = -10.0
"""Similarity of a query to what stands for its own key among the negatives (official)."""


def patch_nce(query: Tensor, key: Tensor, groups: int, temperature: float) -> Tensor:
    """Return -log of the probability that each query picks the key of its own position (eq. 4).

    The softmax is over the similarities to the keys of the query's group. As in the official
    `models/patchnce.py` it has a further entry of similarity -10, which counts for nothing unless
    the temperature is high. In float32 at least; no gradient goes to the keys.

    Args:
        query: unit vectors of the translations, [N * P, C], image after image.
        key: those of the sources at the same positions.
        groups: into how many parts of equal length keys and queries fall: one for each image, or
            1 to take negatives from the whole batch.
        temperature: tau, divides the similarities.

    Returns:
        [N * P].
    """
    with torch.autocast(query.device.type, enabled=False):
        q, k = (full_precision(x).unflatten(0, (groups, -1)) for x in (query, key.detach()))
        similarity = q @ k.transpose(1, 2)  # [groups, n, n]
        logits = F.pad(similarity, (0, 1), value=_NO_MATCH) / temperature  # [groups, n, n + 1]
    own = torch.arange(similarity.shape[1], device=query.device).repeat(groups)
    return F.cross_entropy(logits.flatten(0, 1), own, reduction="none")
