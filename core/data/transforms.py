"""From a decoded image to what the networks see: a deterministic resize, then a crop and a flip.

The rules are those of the official CycleGAN and pix2pix (`data/base_dataset.py:
get_transform`), and `scale_shorter_and_crop` that of the official MUNIT (`utils.py:
get_data_loader_folder`), whose filter is bilinear. The two halves are apart because the first can
be cached and the second is random.

Deviations from the official code, both where it fails or feeds something unwanted:
- `none` never rounds a side of 1 or 2 pixels down to 0.
- Without augmentation a crop is taken from the centre, so that tests repeat; the official test
  crops at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.data.picture import Picture, Pixels
from core.data.stored import require_pixels
from core.errors import UserError
from core.options import DataOptions

_SIDE_MULTIPLE = 4
_BILINEAR = frozenset({"scale_shorter_and_crop", "scale_and_center_crop"})


def for_testing(options: DataOptions) -> DataOptions:
    """Return the official test-time rule: `load_size` is `crop_size`, and nothing is mirrored."""
    return options.model_copy(update={"load_size": options.crop_size, "flip": False})


def crop_side(options: DataOptions) -> int | None:
    """Return the side of the square crop in pixels; None where `preprocess` does not crop."""
    return options.crop_size if options.preprocess.endswith("crop") else None


def resized_size(width: int, height: int, options: DataOptions) -> tuple[int, int]:
    """Return the width and height that `resize` gives an image of `width` x `height` pixels."""
    match options.preprocess:
        case "resize_and_crop":
            return options.load_size, options.load_size
        case "scale_width" | "scale_width_and_crop":
            if width == options.load_size and height >= options.crop_size:
                return width, height
            scaled = options.load_size * height / width
            return options.load_size, int(max(scaled, options.crop_size))
        case "scale_shorter_and_crop" | "scale_and_center_crop":
            # As torchvision's Resize(load_size): the longer side is cut, not rounded.
            shorter = min(width, height)
            return width * options.load_size // shorter, height * options.load_size // shorter
        case "none":
            return _nearest_multiple(width), _nearest_multiple(height)
        case "crop":
            return width, height


def resize(image: Pixels, options: DataOptions) -> Pixels:
    """Scale an image by the rule of `options.preprocess`, with Pillow's bicubic filter.

    `scale_shorter_and_crop` (MUNIT) and `scale_and_center_crop` (DCGAN) take the bilinear one. Both
    are antialiased when shrinking; networks trained with the published code expect them.

    Args:
        image: [H, W, C], uint8, or float32 in [0, 1]. Gray conversion comes before the resize.
        options: `preprocess`, `load_size` and `crop_size` count.

    Returns:
        [H', W', C] of the same type; `image` itself where the size stays.

    Raises:
        UserError: The result would have more pixels than a picture may.
    """
    height, width, channels = image.shape
    size = resized_size(width, height, options)
    if size == (width, height):
        return image
    require_pixels(*size, f"an image of {width} x {height} pixels after {options.preprocess}")
    bilinear = options.preprocess in _BILINEAR
    kernel = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    whole = image.dtype == np.uint8 and channels in (3, 4)
    planes = [image] if whole else [image[..., channel] for channel in range(channels)]
    # Copied where they are views: Pillow takes contiguous arrays.
    pictures = [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes]
    resized = [np.array(picture.resize(size, kernel)) for picture in pictures]
    if whole:
        return resized[0]
    result = np.stack(resized, axis=2)
    return result if image.dtype == np.uint8 else result.clip(0, 1)  # bicubic overshoots


def resize_ids(ids: npt.NDArray[np.int64], options: DataOptions) -> npt.NDArray[np.int64]:
    """Resize class numbers [H, W] as `resize` does images, each pixel to its nearest."""
    height, width = ids.shape
    size = resized_size(width, height, options)
    if size == (width, height):
        return ids
    require_pixels(*size, f"a label map of {width} x {height} pixels after {options.preprocess}")
    picture = Image.fromarray(ids.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture).astype(np.int64)


def for_network(picture: Picture, channels: int, options: DataOptions) -> Pixels:
    """Return a picture as networks see it, but for the crop.

    Returns:
        [C, H, W], resized by `options`: uint8, or float32 in [-1, 1] where there are more bits.

    Raises:
        UserError: The picture has other channels, or would grow beyond all bounds.
    """
    try:
        pixels = resize(picture.channels(channels), options).transpose(2, 0, 1)
    except UserError as error:
        raise UserError(f"{picture.name}: {str(error).removeprefix(f'{picture.name}: ')}") from None
    return pixels if pixels.dtype == np.uint8 else pixels * np.float32(2) - np.float32(1)


Cut = Callable[[Pixels, slice, slice], Pixels]
"""Takes rows and columns of an image [C, H, W]."""


def sliced(image: Pixels, rows: slice, columns: slice) -> Pixels:
    """Take rows and columns as they are."""
    return image[:, rows, columns]


@dataclass(frozen=True)
class CropFlip:
    """The random half of the preprocessing, as numbers that can be applied to several images.

    Attributes:
        x: Pixels left of the crop.
        y: Pixels above the crop.
        side: Side of the square crop in pixels; None: the whole image.
        flip: Whether to mirror left-right after cropping.
    """

    x: int = 0
    y: int = 0
    side: int | None = None
    flip: bool = False

    @classmethod
    def draw(
        cls, rng: np.random.Generator, height: int, width: int, side: int | None, *, flip: bool
    ) -> CropFlip:
        """Draw a position uniformly from 0..max(0, length - side), both ends included.

        With `flip`, mirror with probability 0.5. `rng` is always advanced by three draws, so that
        one option never shifts another's numbers.
        """
        # Not rng.integers: it consumes nothing where there is only one position to choose.
        u_x, u_y, u_flip = rng.random(3)
        x, y = int(u_x * (_slack(width, side) + 1)), int(u_y * (_slack(height, side) + 1))
        return cls(x, y, side, flip and bool(u_flip < 0.5))

    @classmethod
    def centred(cls, height: int, width: int, side: int | None) -> CropFlip:
        """Return the crop in the middle, not mirrored."""
        return cls(_slack(width, side) // 2, _slack(height, side) // 2, side)

    def apply(self, image: Pixels, cut: Cut = sliced) -> Pixels:
        """Crop by `cut` and mirror [C, H, W], uint8 or float32 in [-1, 1].

        Unlike in `resize`, C is first.

        An image that is smaller than the crop on one side only is padded with black at its right or
        lower edge, as the published code does; one that is smaller on both stays as it is.

        Returns:
            [C, H, W] of the type of `image`; a view of it where nothing is cut out or padded anew.
        """
        _, height, width = image.shape
        side = self.side
        if side is None or max(height, width) <= side:
            image = cut(image, slice(0, height), slice(0, width))
        else:
            rows = slice(self.y, min(self.y + side, height))
            image = cut(image, rows, slice(self.x, min(self.x + side, width)))
            missing = [(0, 0), *((0, side - length) for length in image.shape[1:])]
            if min(height, width) < side:
                image = np.pad(image, missing, constant_values=0 if image.dtype == np.uint8 else -1)
        return image[:, :, ::-1] if self.flip else image


def _slack(length: int, side: int | None) -> int:
    """Largest crop position along a side of `length` pixels."""
    return 0 if side is None else max(0, length - side)


def _nearest_multiple(length: int) -> int:
    """Nearest multiple of 4 pixels; halves go to the even multiple, as Python's `round` does."""
    return max(_SIDE_MULTIPLE, round(length / _SIDE_MULTIPLE) * _SIDE_MULTIPLE)
