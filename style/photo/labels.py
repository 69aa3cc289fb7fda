"""Label maps in the cascade: scaled to the features, and joined where classes are related.

The rules are those of the official `photo_wct.py` and `process_stylization_ade20k_ssn.py`; how maps
are read and which classes count is `style.labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from style.labels import LabelMap, Labels, shared_classes


def resize_nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Resize [H, W] to (height, width); pixel i takes that at floor((i + 0.5) * in / out)."""
    rows, columns = (
        (2 * torch.arange(new, device=labels.device) + 1) * old // (2 * new)
        for old, new in zip(labels.shape, size, strict=True)
    )
    return labels[rows[:, None], columns]


@dataclass(frozen=True)
class Regions:
    """The classes that are transferred, decided once on the maps' own resolution.

    Attributes:
        content: [H, W] class ids.
        style: [H', W'] class ids.
        classes: ids of both that are valid.
    """

    content: Tensor
    style: Tensor
    classes: tuple[int, ...]

    @classmethod
    def of(cls, content: LabelMap, style: LabelMap) -> Regions:
        """Find the classes that two maps share.

        Raises:
            UserError: no class can be transferred.
        """
        (classes,) = shared_classes(content, [style])
        return cls(torch.from_numpy(content.shown), torch.from_numpy(style.shown), classes)

    def masks(
        self, content_size: Sequence[int], style_size: Sequence[int], device: torch.device
    ) -> list[tuple[Tensor, Tensor]]:
        """Return flat masks of content and style for every class left at sizes (height, width)."""
        content = resize_nearest(self.content.to(device), content_size).flatten()
        style = resize_nearest(self.style.to(device), style_size).flatten()
        pairs = ((content == label, style == label) for label in self.classes)
        return [(a, b) for a, b in pairs if bool(a.any()) and bool(b.any())]


def _joined(labels: Labels, allowed: set[int], relations: Labels) -> Labels:
    """Turn every other class into the allowed one most similar to it, if there is one."""
    result = labels.copy()
    for label in set(np.unique(labels).tolist()) - allowed:
        similar = (c for c in relations[:, label].tolist() if c in allowed)
        result[labels == label] = next(similar, label)
    return result


def merge_small(labels: Labels, relations: Labels, min_ratio: float = 0.02) -> Labels:
    """Let small classes of a map join the most similar large one in it.

    Args:
        labels: [H, W], ids below the number of classes of `relations`.
        relations: [K, K]; column s lists the classes in order of their similarity to s (official
            `ade20k_semantic_rel.npy`).
        min_ratio: share of the map from which on a class is large.
    """
    ids, counts = np.unique(labels, return_counts=True)
    return _joined(labels, set(ids[counts / labels.size >= min_ratio].tolist()), relations)


def match_classes(content: Labels, style: Labels, relations: Labels) -> tuple[Labels, Labels]:
    """Turn classes that only one map has into the most similar class of the other map.

    First the content's; then the style's, which must become a class that both maps have by then.
    """
    in_style = set(np.unique(style).tolist())
    content = _joined(content, in_style, relations)
    return content, _joined(style, in_style & set(np.unique(content).tolist()), relations)
