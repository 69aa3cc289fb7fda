"""Colours in sRGB, whatever space a file has them in (ICC profiles; CMYK, LAB)."""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

_TOLERANCE = 2
"""Levels by which a profile may move a colour and still pass for sRGB: its variants do."""
_READS = {"1": "L", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "CMYK", "LAB": "LAB"}
"""Pillow's mode -> the mode that is converted; palettes become RGB first."""


def to_srgb(image: Image.Image, name: object) -> Image.Image:
    """Return a decoded picture in sRGB: as it is where it has no profile or that of sRGB.

    A conversion is logged once for each profile.

    Args:
        image: 8 bits, of any mode.
        name: What messages call it.

    Returns:
        Mode L, LA, RGB or RGBA where colours were converted.
    """
    profile = image.info.get("icc_profile") or b""
    if not profile and image.mode != "LAB":
        return image
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    kind = _READS.get(image.mode)
    transform = _transform(profile, kind) if kind else None
    if transform is None:
        return image
    _say(profile, str(name))
    converted: Any = ImageCms.applyTransform(
        image.getchannel(0).convert("L") if kind == "L" else image, transform
    )
    if kind != "L":
        return converted
    gray = converted.getchannel(1)
    return Image.merge("LA", (gray, image.getchannel("A"))) if image.mode == "LA" else gray


def changes_colours(image: Image.Image, name: object) -> bool:
    """Tell whether an RGB picture's profile is another than that of sRGB, and log if so, once."""
    profile = image.info["icc_profile"]
    changes = _transform(profile, image.mode) is not None
    if changes:
        _say(profile, str(name))
    return changes


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """Return Pillow's transform of a profile to sRGB; None where it would change nothing."""
    try:
        source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
        if source is None:
            source = ImageCms.createProfile("LAB")
        out = "RGBA" if mode == "RGBA" else "RGB"
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, out)
    except (ImageCms.PyCMSError, OSError):
        log.warning("a colour profile that cannot be read is left out; colours count as sRGB")
        return None
    return None if _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: Any, mode: str) -> bool:
    if mode == "L":
        before = np.arange(256, dtype=np.uint8)[None]
        after = np.asarray(ImageCms.applyTransform(Image.fromarray(before), transform))[..., 1]
    elif mode in {"RGB", "RGBA"}:
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        before = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
        cube = Image.fromarray(before).convert(mode)
        after = np.asarray(ImageCms.applyTransform(cube, transform))[..., :3]
    else:
        return False
    return int(np.abs(before.astype(int) - after.astype(int)).max()) <= _TOLERANCE


def _say(profile: bytes, name: str) -> None:
    """Log the conversion of a profile where it is met first."""
    if profile not in _said:
        _said.add(profile)
        what = "LAB"
        if profile:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            what = ImageCms.getProfileDescription(opened).strip() or "an unnamed profile"
        log.warning("%s: colours converted from %s to sRGB, as in all such files", name, what)


_said: set[bytes] = set()
