"""Draw procedural paintings: brush strokes along a flow of whirls, dabs of paint, and mosaics.

They show nothing; they are styles for pictures of something, drawn from a seed, so that style
transfer can be tried and shown without anybody's painting.
"""

import math
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from core.report.pictures import save_png

PaintingKind = Literal["whirls", "dabs", "mosaic", "ink"]
KINDS: tuple[PaintingKind, ...] = get_args(PaintingKind)

_OVERSAMPLING = 2
_PALETTES: dict[PaintingKind, tuple[tuple[int, int, int], ...]] = {
    "whirls": ((16, 28, 74), (30, 66, 140), (60, 120, 180), (240, 205, 80), (225, 235, 220)),
    "dabs": ((214, 92, 60), (240, 170, 70), (120, 60, 110), (70, 130, 120), (250, 225, 180)),
    "mosaic": ((20, 90, 100), (200, 60, 50), (240, 200, 120), (40, 40, 60), (120, 170, 130)),
    "ink": ((238, 228, 205), (196, 176, 150), (120, 96, 84), (66, 52, 60), (28, 26, 44)),
}


def _smooth(rng: np.random.Generator, cells: int, size: int) -> NDArray[np.float64]:
    """Draw smooth random values [size, size], evenly spread over 0..1."""
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    field = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float64)
    order = np.sort(field[::4, ::4], axis=None)
    return np.searchsorted(order, field) / len(order)


def _flow(rng: np.random.Generator, size: int, num_whirls: int = 5) -> NDArray[np.float64]:
    """Draw a direction in radians at every pixel, [size, size]: around the nearest whirls."""
    y, x = np.mgrid[:size, :size] / size
    along, down = np.full((size, size), 0.8), np.zeros((size, size))
    for turn in rng.choice([-1, 1], num_whirls):
        at_x, at_y = rng.random(2)
        near = turn * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 0.03) * 12
        along -= near * (y - at_y)
        down += near * (x - at_x)
    return np.arctan2(down, along)


def draw_painting(kind: PaintingKind, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Draw a painting, [size, size, 3]; of a seed it is the same in every size but for detail."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    side = size * _OVERSAMPLING
    hues, flow = _smooth(rng, 6, side), _flow(rng, side)
    palette = np.array(_PALETTES[kind])
    picture = Image.new("RGB", (side, side), tuple(palette[0].tolist()))
    pen = ImageDraw.Draw(picture)
    num = {"whirls": 80, "dabs": 70, "mosaic": 44, "ink": 90}[kind]
    step = 1.1 * side / num  # strokes begin outside too
    places = rng.permutation(num * num)
    jitters = rng.uniform(-0.4, 0.4, (num * num, 2))
    moods = rng.normal(0, 1, (num * num, 4))
    for place, jitter, mood in zip(places, jitters, moods, strict=True):
        x = (place % num + 0.5 + jitter[0]) * step - 0.05 * side
        y = (place // num + 0.5 + jitter[1]) * step - 0.05 * side
        row, column = _inside(y, side), _inside(x, side)
        hue = hues[row, column] + 0.07 * mood[3]
        level = palette[int(np.clip(hue, 0, 0.999) * len(palette))]
        colour = tuple(np.clip(level + 12 * mood[:3], 0, 255).astype(int).tolist())
        if kind == "dabs":
            radius = step * (0.75 + 0.1 * float(mood[0]))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        elif kind == "mosaic":
            corners = _tile(x, y, 0.85 * step, flow[row, column])
            pen.polygon(corners, fill=colour, outline="black", width=max(1, round(0.12 * step)))
        else:
            # Ink is hatched, across the flow too where it is dark; paint is broad.
            across = kind == "ink" and hue > 0.5 and place % 2
            width = 0.16 if kind == "ink" else 0.8
            line = [(x, y)]
            for _ in range(9):
                angle = flow[_inside(y, side), _inside(x, side)] + (math.pi / 2 if across else 0)
                x, y = x + 0.5 * step * math.cos(angle), y + 0.5 * step * math.sin(angle)
                line.append((x, y))
            pen.line(line, fill=colour, width=max(1, round(width * step)), joint="curve")
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX))


def make_paintings(folder: Path, *, size: int, seed: int = 0) -> list[Path]:
    """Write one painting of each kind, `<kind>.png`; return the files."""
    files = [folder / f"{kind}.png" for kind in KINDS]
    for kind, file in zip(KINDS, files, strict=True):
        save_png(Image.fromarray(draw_painting(kind, size, seed)), file)
    return files


def _inside(position: float, side: int) -> int:
    """Return the nearest row or column of the picture."""
    return min(max(int(position), 0), side - 1)


def _tile(x: float, y: float, half: float, angle: float) -> list[tuple[float, float]]:
    """Return the corners of a square turned by `angle`."""
    turns = [angle + math.pi / 4 + quarter * math.pi / 2 for quarter in range(4)]
    return [(x + half * math.cos(turn), y + half * math.sin(turn)) for turn in turns]
