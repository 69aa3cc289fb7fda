"""A picture as a value: its pixels, what they mean, and the way to networks and back to files.

Whatever a file holds becomes one of two kinds of pixels: uint8, or, where the file has more than 8
bits, float32 in [0, 1]. `Levels` remembers the file's own numbers, so that a result can be given
back in the depth and range of its input. There is one rule for going down to 8 bits: round to the
nearest level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.errors import UserError
from core.options import Span

Pixels = npt.NDArray[np.uint8 | np.float32]
"""uint8, or float32 where there are more than 8 bits."""

Numbers = npt.NDArray[Any]
"""Pixels as a file stores them."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601, as Pillow's conversion


@dataclass(frozen=True)
class Levels:
    """How stored numbers stand for black and white.

    Attributes:
        dtype: NumPy's name of the stored type.
        black: The stored value of black.
        white: That of white.
    """

    dtype: str = "uint8"
    black: float = 0
    white: float = 255

    @property
    def deep(self) -> bool:
        """Whether there is more than 8 bits can hold."""
        return self.dtype != "uint8"

    @property
    def in_png(self) -> bool:
        """Whether a PNG file holds such numbers in a way that every viewer shows right."""
        return not self.deep or self == SIXTEEN_BITS

    def unit(self, stored: Numbers) -> Pixels:
        """Map stored numbers to float32 in [0, 1]; what lies beyond black or white is cut off."""
        wide = np.float32 if stored.dtype.itemsize <= 2 else np.float64
        values: Numbers = stored.astype(wide)
        values = (values - self.black) / (self.white - self.black)
        return np.clip(values, 0, 1).astype(np.float32)

    def stored(self, unit: Pixels) -> Numbers:
        """Map [0, 1] back to stored numbers, the inverse of `unit`."""
        values = unit.astype(np.float64) * (self.white - self.black) + self.black
        kind = np.dtype(self.dtype)
        return (values if kind.kind == "f" else np.rint(values)).astype(kind)

    def spanning(self, span: Span) -> Levels:
        """Return levels for results between `span`: these, or the smallest type that holds it."""
        black, white = span
        if span == (self.black, self.white):
            return self
        if float(black).is_integer() and float(white).is_integer() and white - black > 1:
            for kind in ("uint16", "int16"):
                if np.iinfo(kind).min <= black and white <= np.iinfo(kind).max:
                    return Levels(kind, black, white)
        return Levels("float32", black, white)


EIGHT_BITS = Levels()
SIXTEEN_BITS = Levels("uint16", 0, 65535)


@dataclass(frozen=True)
class Picture:
    """An upright picture; its arrays are not to be written to.

    Attributes:
        pixels: [H, W, C], colours as stored, not premultiplied. C is 1 (gray), 3 (RGB), or any
            number of bands.
        alpha: [H, W, 1] in the same type, or None where all is opaque.
        levels: What the pixels were in the file.
        mode: What the file says they are: Pillow's mode, or the stored type and its bands.
        name: What messages call it.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    levels: Levels = EIGHT_BITS
    mode: str = ""
    name: str = "image"

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def is_constant(self) -> bool:
        """Whether all its pixels are the same."""
        return bool((self.pixels == self.pixels[:1, :1]).all())

    def channels(self, number: int) -> Pixels:
        """Return what a network of `number` input channels sees, [H, W, number], contiguous.

        Transparency is laid over white, unless there are 4 channels, RGB and alpha. Gray is
        repeated, and colours become gray by ITU-R 601 luma.

        Raises:
            UserError: The picture has bands that are neither gray nor RGB, and another number.
        """
        bands = self.pixels.shape[2]
        if number == 4 and bands in (1, 3):
            alpha = self.alpha if self.alpha is not None else self._white(1)
            return np.concatenate([self._rgb(), alpha], axis=2)
        opaque = self._over_white()
        if number == bands:
            return np.ascontiguousarray(opaque)
        if number == 3 and bands == 1:
            return np.repeat(opaque, 3, axis=2)
        if number == 1 and bands == 3:
            return _luma(opaque)
        raise UserError(
            f"{self.name}: has {bands} channels, and {number} are wanted; convert the image, or "
            "set the number of input channels of the model that is to take it"
        )

    def halves(self) -> tuple[Self, Self]:
        """Return the halves of a side-by-side pair; with an odd width the right is 1 px wider.

        Raises:
            UserError: The picture is 1 pixel wide.
        """
        half = half_width(self.width, self.name)
        left, right = slice(None, half), slice(half, None)
        return self._cut(left), self._cut(right)

    def with_pixels(self, pixels: Pixels, levels: Levels, alpha: Pixels | None = None) -> Self:
        """Return a picture of the same name with other pixels, of the same kind or of 8 bits."""
        return replace(self, pixels=pixels, alpha=alpha, levels=levels)

    def in_8_bits(self) -> Self:
        """Return the picture rounded to 8 bits."""
        if not self.levels.deep:
            return self
        alpha = None if self.alpha is None else to_8_bits(self.alpha)
        return self.with_pixels(to_8_bits(self.pixels), EIGHT_BITS, alpha)

    def to_pil(self) -> Image.Image:
        """Return 8-bit pixels as Pillow's mode L, RGB or, with transparency, RGBA.

        Raises:
            UserError: Bands that are no colours.
        """
        flat = self.in_8_bits()
        number = 4 if self.alpha is not None else self.pixels.shape[2]
        if number not in _MODES:
            raise UserError(f"{self.name}: {number} channels cannot be shown as a picture")
        array = flat.channels(number) if number == 4 else flat.pixels
        return Image.fromarray(array[..., 0] if number == 1 else array)

    def stored(self) -> Numbers:
        """Return [H, W, C], alpha last where there is one, as the file has or would have it."""
        planes = [self.pixels] if self.alpha is None else [self.pixels, self.alpha]
        array = np.concatenate(planes, axis=2)
        return self.levels.stored(array) if self.levels.deep else array

    def _cut(self, columns: slice) -> Self:
        alpha = None if self.alpha is None else self.alpha[:, columns]
        return replace(self, pixels=self.pixels[:, columns], alpha=alpha)

    def _white(self, number: int) -> Pixels:
        shape = (self.height, self.width, number)
        return np.full(shape, 1 if self.levels.deep else 255, dtype=self.pixels.dtype)

    def _rgb(self) -> Pixels:
        return self.pixels if self.pixels.shape[2] == 3 else np.repeat(self.pixels, 3, axis=2)

    def _over_white(self) -> Pixels:
        if self.alpha is None:
            return self.pixels
        if self.levels.deep:
            return self.pixels * self.alpha + (1 - self.alpha)
        white = Image.new("RGBA", (self.width, self.height), "white")
        laid = Image.alpha_composite(white, Image.fromarray(self.channels(4)))
        return np.asarray(laid)[..., : self.pixels.shape[2]]


def to_8_bits(unit: Pixels) -> Pixels:
    """Round [0, 1] to the nearest of 256 levels."""
    return np.rint(unit * np.float32(255)).astype(np.uint8)


def alpha_as(alpha: Pixels, *, deep: bool) -> Pixels:
    """Return alpha as uint8, or where results are `deep` as float32 in [0, 1]."""
    if alpha.dtype == np.uint8:
        return alpha / np.float32(255) if deep else alpha
    return alpha if deep else to_8_bits(alpha)


def half_width(width: int, name: object) -> int:
    """Return the width of A in a side-by-side pair.

    Raises:
        UserError: There is no room for two.
    """
    if width < 2:
        raise UserError(f"{name}: 1 pixel wide, so it cannot hold A and B side by side; remove it")
    return width // 2


def _luma(rgb: Pixels) -> Pixels:
    if rgb.dtype == np.uint8:
        gray = Image.fromarray(np.ascontiguousarray(rgb)).convert("L")
        return np.array(gray)[..., None]
    return (rgb @ _LUMA)[..., None]
