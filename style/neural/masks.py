"""Label maps of content and styles as one mask for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from style.labels import LabelMap, read_maps, shared_classes

Classes = dict[int, Tensor]
"""{class: mask [H, W], 0 or 1}"""


def _classes(labels: LabelMap, which: Sequence[int]) -> Classes:
    return {label: torch.from_numpy((labels.ids == label).astype(np.float32)) for label in which}


def class_masks(
    content: Image.Image,
    styles: Sequence[Image.Image],
    content_mask: Image.Image | None,
    style_masks: Sequence[Image.Image | None],
) -> tuple[Classes, list[Classes]] | None:
    """Masks of the classes that the content takes from each style (`style.labels`).

    Args:
        content: the image itself.
        styles: likewise.
        content_mask: its map, if any; any size.
        style_masks: one per style, or none.

    Returns:
        Masks of the content, for every class that some style gives, and of each style, for those
        that it gives; at the maps' sizes. None where there are no maps.

    Raises:
        UserError: maps that are missing, do not fit, or have no class in common.
    """
    maps = read_maps(content, styles, content_mask, style_masks)
    if maps is None:
        return None
    of_content, of_styles = maps
    shared = shared_classes(of_content, of_styles)
    return _classes(of_content, sorted(set().union(*shared))), [
        _classes(each, which) for each, which in zip(of_styles, shared, strict=True)
    ]
