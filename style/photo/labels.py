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
    """[H, W] to `size` (height, width): output pixel i takes input floor((i + 0.5) * in / out)."""
    rows, columns = (
        ((2 * torch.arange(new, device=labels.device) + 1) * old).div(
            2 * new, rounding_mode="floor"
        )
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
        """From two maps.

        Raises:
            UserError: no class can be transferred.
        """
        (classes,) = shared_classes(content, [style])
        return cls(torch.from_numpy(content.ids), torch.from_numpy(style.ids), classes)

    def masks(
        self, content_size: Sequence[int], style_size: Sequence[int], device: torch.device
    ) -> list[tuple[Tensor, Tensor]]:
        """(content mask, style mask) of every class left at these sizes (height, width)."""
        content = resize_nearest(self.content.to(device), content_size)
        style = resize_nearest(self.style.to(device), style_size)
        pairs = ((content == label, style == label) for label in self.classes)
        return [(a, b) for a, b in pairs if bool(a.any()) and bool(b.any())]


def _first_related(label: int, relations: Labels, allowed: set[int]) -> int:
    """The class most similar to `label` among those allowed; itself if there is none."""
    return next((int(c) for c in relations[:, label] if int(c) in allowed), label)


def _replaced(labels: Labels, table: dict[int, int]) -> Labels:
    result = labels.copy()
    for old, new in table.items():
        result[labels == old] = new
    return result


def merge_small(labels: Labels, relations: Labels, min_ratio: float = 0.02) -> Labels:
    """Classes that cover less than `min_ratio` of a map join the most similar large one in it.

    Args:
        labels: [H, W], ids below the number of classes of `relations`.
        relations: [K, K]; column s lists the classes in order of their similarity to s (official
            `ade20k_semantic_rel.npy`).
        min_ratio: share of the map.
    """
    ids, counts = np.unique(labels, return_counts=True)
    large = {int(i) for i, n in zip(ids, counts, strict=True) if n / labels.size >= min_ratio}
    small = {int(i) for i in ids} - large
    return _replaced(labels, {label: _first_related(label, relations, large) for label in small})


def match_classes(content: Labels, style: Labels, relations: Labels) -> tuple[Labels, Labels]:
    """Classes that only one map has become the most similar class of the other map.

    First the content's; then the style's, which must become a class that both maps have by then.
    """
    in_style = {int(i) for i in np.unique(style)}
    table = {
        int(label): _first_related(int(label), relations, in_style)
        for label in np.unique(content)
        if int(label) not in in_style
    }
    content = _replaced(content, table)
    in_content = {int(i) for i in np.unique(content)}
    table = {
        label: _first_related(label, relations, in_style & in_content)
        for label in in_style - in_content
    }
    return content, _replaced(style, table)
