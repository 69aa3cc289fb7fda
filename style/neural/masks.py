"""Label maps of content and styles into one mask for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.data.images import Pixels, as_array
from core.errors import UserError

COLORS = np.array(
    [
        *[(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)],
        *[(255, 255, 0), (128, 128, 128), (0, 255, 255), (255, 0, 255)],
    ],
    dtype=np.int32,
)
"""What a pixel of a colour-coded map is taken for, the nearest of them: soft edges are common."""

Classes = dict[int, Tensor]
"""{class: mask [H, W], 0 or 1}"""


def read_labels(label_map: Image.Image) -> Pixels:
    """Class of each pixel, [H, W]: gray levels as they are, colours as their place in `COLORS`."""
    if label_map.mode == "L":
        return as_array(label_map, 1)[..., 0]
    colors = as_array(label_map, 3).astype(np.int32)
    distances = np.stack([np.square(colors - color).sum(axis=2) for color in COLORS])
    return distances.argmin(axis=0).astype(np.uint8)


def _classes(labels: Pixels) -> Classes:
    found = np.unique(labels).tolist()
    return {label: torch.from_numpy((labels == label).astype(np.float32)) for label in found}


def class_masks(
    content_mask: Image.Image | None,
    style_masks: Sequence[Image.Image | None],
    *,
    num_styles: int,
) -> tuple[Classes, list[Classes]] | None:
    """Masks of every class of the content and of each style; None where there are no maps.

    Args:
        content_mask: as `core.data.images.open_image` gives it; any size.
        style_masks: one per style, or none.
        num_styles: number of styles.

    Raises:
        UserError: maps for the content or for the styles only, or no class in common.
    """
    given = [mask for mask in style_masks if mask is not None]
    if content_mask is None and not given:
        return None
    if content_mask is None or len(given) != num_styles:
        raise UserError(
            f"masks: {int(content_mask is not None)} of 1 content and {len(given)} of {num_styles} "
            "style images have one; give all of them or none"
        )
    of_content = _classes(read_labels(content_mask))
    of_styles = [_classes(read_labels(mask)) for mask in given]
    theirs = set().union(*of_styles)
    if not theirs & set(of_content):
        raise UserError(
            f"masks: the content has classes {sorted(of_content)}, the styles {sorted(theirs)}: "
            "none in common; use the same colours or levels in both"
        )
    return of_content, of_styles
