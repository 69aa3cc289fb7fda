"""Label maps: which parts of the content take the style of which parts of the style image.

The rules are those of the official `photo_wct.py` and `process_stylization_ade20k_ssn.py`; there
only one-channel maps of class ids work. Colour masks are read as well: their edges are usually
soft, so each pixel goes to the nearest pure colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from core.errors import UserError

Labels = npt.NDArray[np.int64]

PURE_COLOURS = np.array(
    [
        *((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
        *((255, 255, 0), (0, 255, 255), (255, 0, 255), (128, 128, 128)),
    ],
    dtype=np.int64,
)
"""Colours of masks that are drawn by hand; gray last."""
MOST_CLASSES = 64
"""A colour map with more colours than this has soft edges."""
LEAST_GRAY = 0.02
"""Share of a soft-edged map below which gray is but the edge between black and white."""
_MIN_PIXELS = 10
_MAX_RATIO = 100


def read_labels(image: Image.Image) -> Labels:
    """Class ids of a map.

    A gray or palette map holds the ids themselves; in a colour map each colour is a class, and a
    gray level of it the id of that value. A colour map of more than `MOST_CLASSES` colours is
    soft-edged: its pixels go to the nearest of `PURE_COLOURS`.

    Args:
        image: mode L, P, or anything that converts to RGB (alpha is dropped).

    Returns:
        [H, W].
    """
    if image.mode in ("L", "P"):
        return np.asarray(image).astype(np.int64)
    rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    ids = (rgb << np.array([16, 8, 0])).sum(-1)
    unique, inverse = np.unique(ids, return_inverse=True)
    colours = np.stack([unique >> 16, unique >> 8 & 255, unique & 255], -1)
    if len(unique) > MOST_CLASSES:
        distances = ((colours[:, None] - PURE_COLOURS) ** 2).sum(-1)
        nearest = distances.argmin(1)
        gray = nearest == len(PURE_COLOURS) - 1
        if gray[inverse].mean() < LEAST_GRAY:
            nearest = distances[:, :-1].argmin(1)
        colours = PURE_COLOURS[nearest]
    is_gray = (colours == colours[:, :1]).all(1)
    # Behind the 256 gray ids, so that no colour is taken for one.
    packed = 256 + (colours << np.array([16, 8, 0])).sum(-1)
    return np.where(is_gray, colours[:, 0], packed)[inverse].reshape(rgb.shape[:2])


def resize_nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """[H, W] to `size` (height, width): output pixel i takes input floor((i + 0.5) * in / out)."""
    rows, columns = (
        ((2 * torch.arange(new, device=labels.device) + 1) * old).div(
            2 * new, rounding_mode="floor"
        )
        for old, new in zip(labels.shape, size, strict=True)
    )
    return labels[rows[:, None], columns]


def valid_classes(content: Labels, style: Labels) -> dict[int, bool]:
    """{class of the content: whether it is transferred}, by the official rule.

    Both maps must have more than 10 pixels of it, and neither 100 times as many as the other.
    """
    result = {}
    for label in np.unique(content):
        num_content, num_style = int((content == label).sum()), int((style == label).sum())
        enough = min(num_content, num_style) > _MIN_PIXELS
        result[int(label)] = enough and (
            max(num_content, num_style) < _MAX_RATIO * min(num_content, num_style)
        )
    return result


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
    def of(cls, content: Labels, style: Labels) -> Regions:
        """From two maps.

        Raises:
            UserError: no class can be transferred.
        """
        classes = tuple(label for label, valid in valid_classes(content, style).items() if valid)
        if not classes:
            raise UserError(
                f"masks: no class has more than {_MIN_PIXELS} pixels in both maps (content: "
                f"{_names(content)}; style: {_names(style)}); use the same ids or colours in both"
            )
        return cls(torch.from_numpy(content), torch.from_numpy(style), classes)

    def masks(
        self, content_size: Sequence[int], style_size: Sequence[int], device: torch.device
    ) -> list[tuple[Tensor, Tensor]]:
        """(content mask, style mask) of every class left at these sizes (height, width)."""
        content = resize_nearest(self.content.to(device), content_size)
        style = resize_nearest(self.style.to(device), style_size)
        pairs = ((content == label, style == label) for label in self.classes)
        return [(a, b) for a, b in pairs if bool(a.any()) and bool(b.any())]


def _names(labels: Labels) -> str:
    names = [
        str(label) if label < 256 else f"#{label - 256:06x}" for label in np.unique(labels)[:8]
    ]
    return ", ".join(names)


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
