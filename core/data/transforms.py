"""From a decoded image to what the networks see: a deterministic resize, then a crop and a flip.

The rules are those of the official CycleGAN and pix2pix (`data/base_dataset.py:
get_transform`), and `scale_shorter_and_crop` that of the official MUNIT (`utils.py:
get_data_loader_folder`), whose filter is bilinear. The two halves are apart because the first can
be cached and the second is random.

Deviations from the official code, all where it fails or feeds something unwanted:
- `none` never rounds a side of 1 or 2 pixels down to 0.
- An image that is smaller than the crop on one side only is cropped on the other side, instead of
  being padded with black.
- Without augmentation a crop is taken from the centre, so that tests repeat; the official test
  crops at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from core.data.images import Pixels
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
        image: uint8 [H, W, C], C = 1, 3 or 4. Gray conversion comes before the resize.
        options: `preprocess`, `load_size` and `crop_size` count.

    Returns:
        uint8 [H', W', C]; `image` itself where the size stays.
    """
    height, width, channels = image.shape
    size = resized_size(width, height, options)
    if size == (width, height):
        return image
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    bilinear = options.preprocess in _BILINEAR
    kernel = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    resized = np.array(picture.resize(size, kernel))
    return resized.reshape(size[1], size[0], channels)


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

    def apply(self, image: Pixels) -> Pixels:
        """Crop and mirror without copying; channels come first, unlike in `resize`.

        Returns:
            A view of `image` [C, H, W], uint8 [C, min(side, H), min(side, W)].
        """
        if self.side is not None:
            image = image[:, self.y : self.y + self.side, self.x : self.x + self.side]
        return image[:, :, ::-1] if self.flip else image


def _slack(length: int, side: int | None) -> int:
    """Largest crop position along a side of `length` pixels."""
    return 0 if side is None else max(0, length - side)


def _nearest_multiple(length: int) -> int:
    """Nearest multiple of 4 pixels; halves go to the even multiple, as Python's `round` does."""
    return max(_SIDE_MULTIPLE, round(length / _SIDE_MULTIPLE) * _SIDE_MULTIPLE)
