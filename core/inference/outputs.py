"""What a network gives back, as a picture of its input's kind."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from core.data.picture import EIGHT_BITS, Levels, Picture, Pixels, alpha_as
from core.errors import UserError
from core.options import DataOptions, Direction
from core.report.pictures import to_uint8


def result_of(
    image: Tensor, given: Picture, levels: Levels, top: int, left: int
) -> Picture | UserError:
    """Make a picture of a network's output for an input that was padded.

    Args:
        image: [C, H, W] in [-1, 1], with what was added to the input.
        given: the input. Transparency of the result is its own, or else the input's.
        levels: what the result is stored as.
        top: rows that were added above.
        left: columns that were added at the left.

    Returns:
        A picture of the input's size; or an error: there is a NaN among its values.
    """
    image = image[:, top : top + given.height, left : left + given.width].float()
    try:
        eight = to_uint8(image)  # refuses NaN
    except UserError as error:
        return error
    values = ((image + 1) / 2).clamp(0, 1) if levels.deep else eight
    pixels: Pixels = values.permute(1, 2, 0).contiguous().cpu().numpy()
    alpha = given.alpha
    if pixels.shape[2] == 4:  # colours and an alpha of its own
        pixels, alpha = pixels[..., :3], pixels[..., 3:]
    elif alpha is not None:
        alpha = alpha_as(alpha, deep=levels.deep)
    return given.with_pixels(pixels, levels, alpha)


def result_levels(given: Levels, data: DataOptions, direction: Direction) -> Levels:
    """Say what results are stored as: like their input, unless the target has its own range."""
    sides = list(zip((data.a, data.b), data.spans, strict=True))
    (inputs, source), (_, target) = sides if direction == "AtoB" else sides[::-1]
    if len(inputs) > 1:
        given = EIGHT_BITS  # a stack has no depth of its own
    return given.spanning(target) if target else EIGHT_BITS if source else given


def as_pil(picture: Picture) -> Image.Image:
    """Return Pillow's image of the same depth where there is one: 16 bits and floats in gray."""
    gray = picture.pixels.shape[2] == 1 and picture.alpha is None
    if gray and picture.levels.dtype in {"uint16", "float32"}:
        return Image.fromarray(picture.stored()[..., 0])
    return picture.to_pil()
