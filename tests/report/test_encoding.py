"""Pictures as files: what each kind keeps."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.data.images import decode_picture
from core.data.picture import EIGHT_BITS, SIXTEEN_BITS, Levels, Picture
from core.errors import UserError
from core.report.encoding import FORMATS, encode


def picture(levels: Levels, alpha: bool = False) -> Picture:
    """Smooth colours, half of them transparent where there is alpha."""
    ramp = np.linspace(0, 1, 20 * 30 * 3, dtype=np.float32).reshape(20, 30, 3)
    pixels: Any = ramp if levels.deep else np.rint(ramp * 255).astype(np.uint8)
    opaque = pixels[..., :1] * 0 + (1 if levels.deep else 255)
    opaque[:, :15] = 0
    return Picture(pixels, opaque if alpha else None, levels, name="ramp")


@pytest.mark.parametrize("kind", FORMATS)
def test_eight_bits_and_transparency(kind: Any) -> None:
    back = decode_picture(encode(picture(EIGHT_BITS, alpha=True), kind), f"x.{kind}")
    assert (back.height, back.width) == (20, 30) and back.levels == EIGHT_BITS
    if kind == "jpg":  # laid over white
        assert back.alpha is None and int(back.pixels[:, :14].min()) > 245
    else:
        assert back.alpha is not None and not back.alpha[:, :15].any()
    expected = picture(EIGHT_BITS).pixels[:, 16:].astype(int)
    off = np.abs(back.pixels[:, 16:].astype(int) - expected)
    assert off.max() == 0 if kind in ("png", "tif") else off.mean() < 2


def test_depth_is_kept_or_refused() -> None:
    sixteen = picture(SIXTEEN_BITS, alpha=True)
    for kind in ("png", "tif"):
        back = decode_picture(encode(sixteen, kind), f"x.{kind}")  # type: ignore[arg-type]
        assert np.array_equal(back.stored(), sixteen.stored())
    signed = picture(Levels("float32", -1, 3))
    with pytest.raises(UserError, match="ramp: float32 x 3 is more than a PNG file can hold"):
        encode(signed, "png")
    back = decode_picture(encode(signed, "tif"), "x.tif", (-1, 3))
    assert np.allclose(back.stored(), signed.stored(), atol=1e-6)
    assert decode_picture(encode(signed, "jpg"), "x.jpg").levels == EIGHT_BITS


def test_results_are_srgb_without_orientation() -> None:
    for kind in FORMATS:
        image = Image.open(io.BytesIO(encode(picture(EIGHT_BITS), kind)))
        assert image.getexif().get(0x0112, 1) == 1 and "icc_profile" not in image.info
        assert "srgb" in image.info or kind != "png"
