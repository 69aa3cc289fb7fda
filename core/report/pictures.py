"""Make pictures of network output: 8-bit conversion, sample grids, strips, GIFs, safe writing.

Nothing here stretches an image to its own range: a grey result stays grey. `to_uint8` rounds to the
nearest level where the official CycleGAN and pix2pix code truncates (`util/util.py`, `tensor2im`),
which darkens a saved image by half a level; `rounding="truncate"` gives their pixels.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from core.data.images import open_image
from core.errors import UserError
from core.runtime.files import write_file

BACKGROUND = (255, 255, 255)
TEXT = (64, 64, 64)
NAN_COLOR = (255, 0, 255)
"""What a NaN looks like in a grid: a colour that no one takes for a result."""

CELL_SIDE = 256
"""Pixels; longer side of a picture in a table of pictures of all sizes, at most."""
_LEAST_SIDE = 128
"""Pixels; where all are smaller they are enlarged to at least this, by a whole factor."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Number of channels -> Pillow mode."""


def to_uint8(images: Tensor, rounding: Literal["nearest", "truncate"] = "nearest") -> Tensor:
    """Map float [-1, 1], of any shape, to uint8 0..255, the inverse of `core.family.to_float`.

    Values outside [-1, 1], infinities included, are clipped; NaN is refused, as 8 bits have no way
    to say so. "nearest" restores every 8-bit image exactly; "truncate" cuts the fraction of (x + 1)
    / 2 * 255 off, pixel for pixel the official way.
    """
    assert images.is_floating_point(), f"float images in [-1, 1] expected, not {images.dtype}"
    num_nan = int(images.isnan().sum())
    if num_nan:
        raise UserError(
            f"image: {num_nan} of {images.numel()} values are NaN; the network that made it has "
            "diverged, go back to an earlier checkpoint or lower the learning rate"
        )
    # In float32 whatever the input: half precision cannot tell 256 levels apart near +-1.
    levels = ((images.detach().float() + 1) / 2 * 255).clamp(0, 255)
    return (levels.round() if rounding == "nearest" else levels).to(torch.uint8)


def in_8_bits(images: Tensor) -> Tensor:
    """Return uint8 as it is, and float in [-1, 1] by `to_uint8`: images as a loader gives them."""
    return images if images.dtype == torch.uint8 else to_uint8(images)


def shown(images: Tensor, bands: Sequence[int] | None = None) -> Tensor:
    """Choose what a person sees of images [..., C, H, W] of any number of channels.

    Gray, RGB and RGBA stay as they are. Of others these are three `bands`, counted from 1; by
    default the first three, or the first where there are two.

    Raises:
        UserError: there is no such band.
    """
    channels = images.shape[-3]
    if channels in MODES:
        return images
    if bands and max(bands) > channels:
        raise UserError(f"log.bands: {list(bands)}: there are {channels} channels")
    places = [band - 1 for band in bands] if bands else [0, 1, 2] if channels > 2 else [0]
    return images[..., places, :, :]


def to_rgb(image: Tensor) -> Tensor:
    """Turn [C, H, W] into [3, H, W]: repeat gray, leave transparency and further bands out."""
    image = shown(image)
    return image.expand(3, -1, -1) if len(image) == 1 else image[:3]


def to_pil(image: Tensor) -> Image.Image:
    """Turn one image [C, H, W], uint8, or float in [-1, 1] without NaN, into a Pillow image.

    One channel is gray (mode L), three are RGB, four RGBA, alpha in the same range as the colours;
    other numbers are refused.
    """
    assert image.ndim == 3, f"one image [C, H, W] expected, not {tuple(image.shape)}"
    channels = image.shape[0]
    if channels not in MODES:
        raise UserError(
            f"image: {channels} channels cannot be shown as a picture; "
            "give 1 (gray), 3 (RGB) or 4 (RGBA)"
        )
    array = in_8_bits(image).detach().cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if channels == 1 else array)


def _flat(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; transparency shows the background, not arbitrary hidden colours."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(paper, image).convert("RGB")


def _cell(image: Tensor) -> Image.Image:
    """Draw one grid cell in RGB, with NaN pixels painted in `NAN_COLOR`."""
    bad = image.isnan().any(dim=0)
    if not bad.any():
        return _flat(to_pil(shown(image)))
    whole = shown(image.nan_to_num(nan=0.0) if image.is_floating_point() else image)
    picture = _flat(to_pil(whole))
    picture.paste(NAN_COLOR, mask=Image.fromarray(bad.to(torch.uint8).mul(255).cpu().numpy()))
    return picture


def grid(columns: Mapping[str, Tensor], *, max_rows: int, labels: bool = True) -> Image.Image:
    """Lay samples out as a table, an RGB picture: one row per sample, one column per key.

    Images keep their pixels: columns of different sizes are centred in their cells, never
    resampled. NaN pixels come out magenta rather than as an error, for the grid of a run that
    diverges is the record of when it did.

    Args:
        columns: {label: images [N, C, H, W]}, float in [-1, 1] or uint8; C is 1, 3 or 4. N, C, H
            and W may differ between columns; cells that a shorter column lacks stay empty.
        max_rows: samples shown at most, from the first.
        labels: whether a header names the columns.
    """
    assert max_rows >= 1, max_rows
    cells = {
        label: [_cell(image) for image in images.detach()[:max_rows].cpu()]
        for label, images in columns.items()
    }
    rows = [*zip_longest(*cells.values())]
    assert rows, "a grid needs at least one image"
    return table(rows, list(cells) if labels else ())


def scaled(picture: Image.Image, factor: float) -> Image.Image:
    """Resize a picture; whole factors repeat its pixels, others interpolate (Lanczos)."""
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    whole = float(factor).is_integer()
    return picture.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def thumbnail(picture: Image.Image, side: int = CELL_SIDE) -> Image.Image:
    """Return the picture with its longer side reduced to at most `side` pixels."""
    return picture if max(picture.size) <= side else scaled(picture, side / max(picture.size))


def _font(height: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Load the letters for headers and captions of pictures that are `height` pixels high."""
    return ImageFont.load_default(min(max(height // 16, 11), 28))


def _gutter(height: int) -> int:
    return max(2, height // 64)


def captioned(picture: Image.Image, caption: str) -> Image.Image:
    """Return the picture, as RGB, with a line of text below it."""
    font = _font(picture.height)
    _, _, right, bottom = font.getbbox(caption)
    size = (max(picture.width, math.ceil(right)), picture.height + math.ceil(bottom) + 3)
    sheet = Image.new("RGB", size, BACKGROUND)
    sheet.paste(_flat(picture), ((sheet.width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    draw.text((sheet.width / 2, picture.height + 2), caption, TEXT, font, anchor="ma")
    return sheet


def table(rows: Sequence[Sequence[Image.Image | None]], labels: Sequence[str] = ()) -> Image.Image:
    """Lay pictures of any size and mode out in rows and columns, each centred in its cell, as RGB.

    None, or a short row, leaves cells empty. `labels` of the columns make a header.
    """
    num_columns = max(len(row) for row in rows)
    full = [[*row, *[None] * (num_columns - len(row))] for row in rows]
    heights = [max((cell.height for cell in row if cell is not None), default=0) for row in full]
    gutter = _gutter(max(heights))
    font = _font(max(heights))
    widths, header = [], 0
    for i in range(num_columns):
        left, _, right, bottom = font.getbbox(labels[i]) if labels else (0, 0, 0, 0)
        # Rounded up, with a gutter each side, so that neighbouring labels never touch.
        text_width = int(right - left) + 1 + 2 * gutter if labels else 0
        column = (row[i] for row in full)
        widths.append(max([text_width, *(cell.width for cell in column if cell is not None)]))
        header = max(header, int(bottom) + 1 + gutter if labels else 0)

    width = sum(widths) + gutter * (num_columns + 1)
    sheet = Image.new("RGB", (width, header + sum(heights) + gutter * (len(full) + 1)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    left = gutter
    for i, column_width in enumerate(widths):
        if labels:
            draw.text((left + column_width / 2, gutter), labels[i], TEXT, font, anchor="ma")
        top = header + gutter
        for row, height in zip(full, heights, strict=True):
            cell = row[i]
            if cell is not None:
                offset = ((column_width - cell.width) // 2, (height - cell.height) // 2)
                sheet.paste(_flat(cell), (left + offset[0], top + offset[1]))
            top += height + gutter
        left += column_width + gutter
    return sheet


def sheet(
    rows: Sequence[Sequence[Image.Image | Path | None]], labels: Sequence[str] = ()
) -> Image.Image:
    """Lay pictures, or their files, out as a `table` in which the longer side of each is the same.

    It is that of the largest picture, between 128 and 256 pixels.
    """
    opened = (
        (open_image(cell) if isinstance(cell, Path) else cell for cell in row) for row in rows
    )
    cells = [[cell and thumbnail(cell) for cell in row] for row in opened]
    longest = max((max(cell.size) for row in cells for cell in row if cell is not None), default=1)
    side = longest * math.ceil(_LEAST_SIDE / longest)
    even = [[cell and scaled(cell, side / max(cell.size)) for cell in row] for row in cells]
    return table(even, labels)


def square_columns(images: Tensor) -> dict[str, Tensor]:
    """Arrange images [N, C, H, W] as columns of a `grid` that is as square as can be."""
    width = math.ceil(math.sqrt(len(images)))
    return {str(column): images[column::width] for column in range(width)}


def strip(images: Sequence[Image.Image]) -> Image.Image:
    """Put pictures of any size and mode side by side, centred, with thin gutters between them.

    The result is RGB, as high as the highest of them, without an outer margin.
    """
    assert images, "a strip needs at least one image"
    framed, gutter = table([images]), _gutter(max(image.height for image in images))
    return framed.crop((gutter, gutter, framed.width - gutter, framed.height - gutter))


def save_png(image: Image.Image, path: Path) -> None:
    """Write `image`, of mode L, RGB or RGBA, as PNG whatever the suffix; see `write_file`."""
    write_file(path, lambda file: image.save(file, format="PNG"))


def save_gif(frames: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    """Write frames of one size as a GIF that loops forever; see `write_file`.

    A frame takes at least 20 `milliseconds`: the format counts in hundredths of a second, and
    browsers slow anything below two of them down to ten. Other frames and times are refused.
    """
    assert frames, "a GIF needs at least one frame"
    if milliseconds < 20:
        raise UserError(f"{path}: {milliseconds} ms per frame; browsers play 20 ms and above")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise UserError(f"{path}: frames of different sizes ({found}); resize them to one")
    first, *rest = [_flat(frame) for frame in frames]

    def write(file: BinaryIO) -> None:
        first.save(
            file, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0
        )

    write_file(path, write)
