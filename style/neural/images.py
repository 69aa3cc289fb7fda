"""Between pictures and the tensors that are optimised (neural-style-pt, `neural_style.py`).

An image is optimised in Caffe's space, whichever network looks at it: BGR in 0..255 less
ImageNet's mean, so that learning rate, total variation and the start from noise mean the same.
Resizing is Pillow's bilinear on 8 bits, as published. Deviation: `to_picture` rounds where the
published code truncates.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.data.images import rgb_of

MEAN_BGR = (103.939, 116.779, 123.68)


def scaled_size(width: int, height: int, image_size: int) -> tuple[int, int]:
    """Return width and height whose longer side is `image_size` pixels, or one less.

    Sides are cut to whole pixels after multiplying by the rounded ratio: 412x300 at 512 is 511x372.
    """
    ratio = image_size / max(width, height)
    return max(1, int(ratio * width)), max(1, int(ratio * height))


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to an RGB picture (width, height), bilinear with antialiasing; alpha over white."""
    rgb = Image.fromarray(rgb_of(picture))
    return rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR)


def to_tensor(picture: Image.Image, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn an RGB picture into [1, 3, H, W] in Caffe's space."""
    rgb = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(dtype)
    mean = torch.tensor(MEAN_BGR, dtype=dtype)[:, None, None]
    return rgb.flip(1) - mean


def to_levels(image: Tensor) -> Tensor:
    """Invert `to_tensor` for [1, 3, H, W]: RGB [H, W, 3] in 0..255, float32 on the CPU, clipped."""
    image = image.detach().float().cpu()[0]
    # By way of [0, 1], as published: the truncated bytes depend on it.
    unit = (image + torch.tensor(MEAN_BGR)[:, None, None]).flip(0) / 255
    return (unit.clamp(0, 1) * 255).permute(1, 2, 0)


def to_picture(image: Tensor) -> Image.Image:
    """Turn [1, 3, H, W] in Caffe's space into an RGB picture."""
    return Image.fromarray(to_levels(image).round().to(torch.uint8).contiguous().numpy())


def with_colors_of(picture: Image.Image, content: Image.Image) -> Image.Image:
    """Give `picture` the colours of `content`, and keep its luminance; both RGB, of one size.

    The published luminance-only transfer of saved images: Y of full-range BT.601 from the one, Cb
    and Cr from the other, 8 bits.
    """
    luma, _, _ = picture.convert("YCbCr").split()
    _, blue, red = content.convert("YCbCr").split()
    return Image.merge("YCbCr", (luma, blue, red)).convert("RGB")
