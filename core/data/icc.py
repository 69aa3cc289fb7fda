"""Colours of more than 8 bits in sRGB, by profiles of a matrix and tone curves (ICC.1:2022).

Pillow's colour management has 8 bits. Profiles of screens, cameras and working spaces (Display P3,
Adobe RGB, ProPhoto) are three curves and a matrix, which is computed here; tables and CMYK are not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

_SRGB = np.array(  # linear sRGB to XYZ under D50, as profiles have it (Lindbloom, Bradford-adapted)
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_PARAMETERS = {0: "g", 1: "gab", 2: "gabc", 3: "gabcd", 4: "gabcdef"}
"""Kind of a parametric curve -> its numbers (10.18)."""


def matrix_to_srgb(profile: bytes) -> Curve | None:
    """Return the conversion of RGB [..., 3] in [0, 1] to sRGB; None for other kinds of profiles."""
    try:
        if profile[16:20] != b"RGB " or b"A2B0" in _tags(profile):
            return None
        tags = _tags(profile)
        curves = [_curve(tags[f"{name}TRC".encode()]) for name in "rgb"]
        columns = [struct.unpack(">3i", tags[f"{name}XYZ".encode()][8:20]) for name in "rgb"]
    except (KeyError, ValueError, struct.error):
        return None
    to_linear = np.linalg.inv(_SRGB) @ (np.array(columns).T / 65536)

    def convert(colours: Floats) -> Floats:
        linear = np.stack([curve(colours[..., i]) for i, curve in enumerate(curves)], axis=-1)
        return _encode((linear @ to_linear.T).clip(0, 1))

    return convert


def _encode(linear: Floats) -> Floats:
    """Apply the curve of sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (number,) = struct.unpack_from(">I", profile, 128)
    found = {}
    for i in range(min(number, 200)):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        found[name] = profile[start : start + size]
    return found


def _curve(tag: bytes) -> Curve:
    """Read a tone curve: a table, a gamma or a formula (10.6, 10.18)."""
    if tag[:4] == b"curv":
        (number,) = struct.unpack_from(">I", tag, 8)
        table = np.array(struct.unpack_from(f">{number}H", tag, 12), dtype=np.float64)
        if number == 0:
            return lambda x: x
        if number == 1:
            return lambda x: x ** (table[0] / 256)
        places = np.linspace(0, 1, number)
        return lambda x: np.interp(x, places, table / 65535)
    if tag[:4] != b"para":
        raise ValueError(tag[:4])
    kind, _ = struct.unpack_from(">HH", tag, 8)
    names = _PARAMETERS[kind]
    values = np.array(struct.unpack_from(f">{len(names)}i", tag, 12)) / 65536
    given = dict(zip(names, values.tolist(), strict=True))
    g, a, b = given["g"], given.get("a", 1.0), given.get("b", 0.0)
    c, d, e, f = (given.get(name, 0.0) for name in "cdef")
    if kind in (1, 2):  # below -b / a it is 0, or c
        d, e, f, c = -b / a, c, c, 0.0
    return lambda x: np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f)
