"""Draw procedural cartoon faces, and read their attributes back from the pixels.

The tags use the hair and eye colours of the anime-face set that text-to-image courses hand out, so
that one tag reader serves both. Positions vary little, and every palette keeps its colours far
apart: `read_attributes` needs no learnt classifier and works on generated faces too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from core.report.pictures import to_uint8

RGB = tuple[int, int, int]
Point = tuple[float, float]
Oval = tuple[float, float, float, float]
HairStyle = Literal["short", "bob", "long", "twintails", "spiky"]

HAIR_COLOURS: dict[str, RGB] = {
    "aqua": (95, 215, 215),
    "black": (42, 40, 48),
    "blonde": (242, 212, 112),
    "blue": (62, 92, 210),
    "brown": (112, 70, 42),
    "gray": (150, 150, 156),
    "green": (72, 160, 82),
    "orange": (240, 140, 50),
    "pink": (246, 152, 190),
    "purple": (130, 72, 176),
    "red": (200, 42, 46),
    "white": (238, 238, 244),
}
EYE_COLOURS: dict[str, RGB] = {
    "aqua": (60, 208, 212),
    "black": (44, 40, 48),
    "blue": (46, 82, 216),
    "brown": (124, 72, 36),
    "green": (50, 158, 72),
    "orange": (242, 136, 34),
    "pink": (246, 122, 178),
    "purple": (142, 62, 192),
    "red": (212, 30, 40),
    "yellow": (246, 216, 48),
}
SKIN_COLOURS: tuple[RGB, ...] = ((255, 226, 200), (243, 200, 160), (205, 146, 104), (136, 92, 66))
MASK_COLOURS: tuple[RGB, ...] = ((150, 200, 232), (160, 216, 196))
BACKGROUNDS: tuple[RGB, ...] = ((206, 222, 236), (226, 214, 232), (212, 230, 212), (240, 226, 206))
SHIRTS: tuple[RGB, ...] = ((70, 96, 140), (150, 70, 80), (86, 130, 110), (230, 226, 218))
HAIR_STYLES: tuple[HairStyle, ...] = ("short", "bob", "long", "twintails", "spiky")

_FRAME: RGB = (38, 30, 44)
_LINE: RGB = (64, 44, 48)
_MOUTH: RGB = (188, 62, 72)
_WHITE: RGB = (252, 252, 252)
_OVERSAMPLING = 3


@dataclass(frozen=True)
class VisibleAttributes:
    """What `read_attributes` sees; `hair` and `eyes` are keys of their tables of colours."""

    hair: str
    eyes: str
    glasses: bool
    mask: bool


@dataclass(frozen=True)
class Face(VisibleAttributes):
    """Everything a face is drawn from."""

    hair_style: HairStyle
    smile: bool
    """Whether the mouth smiles, be it behind a mask."""
    skin: int
    """Index into `SKIN_COLOURS`, as the next three into their tables."""
    mask_colour: int
    background: int
    shirt: int
    shift: tuple[float, float]
    """Of the head, in units of the image side, right and down, within +-0.015."""
    scale: float
    """Of the head, in [0.97, 1.03]."""

    @property
    def tags(self) -> str:
        """E.g. "aqua hair red eyes"."""
        return f"{self.hair} hair {self.eyes} eyes"


def draw_face(seed: int | tuple[int, ...]) -> Face:
    """Draw the attributes of the face of a seed."""
    rng = np.random.default_rng(seed)
    return Face(
        hair=list(HAIR_COLOURS)[rng.integers(len(HAIR_COLOURS))],
        eyes=list(EYE_COLOURS)[rng.integers(len(EYE_COLOURS))],
        glasses=bool(rng.random() < 0.35),
        mask=bool(rng.random() < 0.25),
        hair_style=HAIR_STYLES[rng.integers(len(HAIR_STYLES))],
        smile=bool(rng.random() < 0.5),
        skin=int(rng.integers(len(SKIN_COLOURS))),
        mask_colour=int(rng.integers(len(MASK_COLOURS))),
        background=int(rng.integers(len(BACKGROUNDS))),
        shirt=int(rng.integers(len(SHIRTS))),
        shift=(round(rng.uniform(-0.015, 0.015), 4), round(rng.uniform(-0.015, 0.015), 4)),
        scale=round(rng.uniform(0.97, 1.03), 4),
    )


class _Pen:
    """Draws on the enlarged picture in units of its side, moved and scaled with the head."""

    def __init__(self, face: Face, size: int) -> None:
        self._face = face
        self._side = size * _OVERSAMPLING
        self.image = Image.new("RGB", (self._side, self._side), BACKGROUNDS[face.background])
        self._draw = ImageDraw.Draw(self.image)

    def _place(self, *points: Point) -> list[Point]:
        side, scale = self._side, self._face.scale
        left, top = (0.5 + shift for shift in self._face.shift)
        xs = [side * (left + scale * (x - 0.5)) for x, _ in points]
        return list(zip(xs, [side * (top + scale * (y - 0.5)) for _, y in points], strict=True))

    def _box(self, x: float, y: float, half_x: float, half_y: float) -> list[Point]:
        return self._place((x - half_x, y - half_y), (x + half_x, y + half_y))

    def _pixels(self, width: float) -> int:
        return max(1, round(width * self._side))

    def polygon(self, points: list[Point], colour: RGB) -> None:
        self._draw.polygon(self._place(*points), fill=colour)

    def oval(self, x: float, y: float, half_x: float, half_y: float, colour: RGB) -> None:
        self._draw.ellipse(self._box(x, y, half_x, half_y), fill=colour)

    def ring(self, x: float, y: float, half: float, width: float) -> None:
        box = self._box(x, y, half, half)
        self._draw.ellipse(box, outline=_FRAME, width=self._pixels(width))

    def cap(self, x: float, y: float, half_x: float, half_y: float, colour: RGB) -> None:
        """Draw the upper half of an oval."""
        self._draw.pieslice(self._box(x, y, half_x, half_y), 180, 360, fill=colour)

    def arc(self, oval: Oval, degrees: tuple[int, int], colour: RGB, width: float) -> None:
        self._draw.arc(self._box(*oval), *degrees, fill=colour, width=self._pixels(width))

    def line(self, points: list[Point], colour: RGB, width: float) -> None:
        pixels = self._pixels(width)
        self._draw.line(self._place(*points), fill=colour, width=pixels, joint="curve")


def render_face(face: Face, size: int) -> NDArray[np.uint8]:
    """Draw a picture of a face, [size, size, 3], uint8 RGB."""
    pen = _Pen(face, size)
    skin = SKIN_COLOURS[face.skin]
    _back_hair(pen, face)
    pen.oval(0.5, 1.04, 0.36, 0.16, SHIRTS[face.shirt])
    pen.polygon([(0.42, 0.78), (0.58, 0.78), (0.60, 0.92), (0.40, 0.92)], _dim(skin, 0.86))
    for x in (0.2, 0.8):
        pen.oval(x, 0.55, 0.045, 0.07, _dim(skin, 0.92))
    pen.oval(0.5, 0.53, 0.30, 0.35, skin)
    for x in (0.3, 0.7):
        pen.oval(x, 0.66, 0.055, 0.03, _blend(skin, (240, 110, 110), 0.28))
    _eyes(pen, face)
    pen.line([(0.5, 0.615), (0.49, 0.645), (0.51, 0.648)], _dim(skin, 0.74), 0.013)
    if face.smile:
        pen.arc((0.5, 0.685, 0.105, 0.085), (15, 165), _MOUTH, 0.030)
    else:
        pen.line([(0.45, 0.745), (0.55, 0.745)], _MOUTH, 0.024)
    if face.mask:
        _mask(pen, face)
    _front_hair(pen, face)
    if face.glasses:
        for x in (0.365, 0.635):
            pen.ring(x, 0.52, 0.115, 0.024)
        pen.line([(0.455, 0.515), (0.545, 0.515)], _FRAME, 0.036)
        for x, ear in ((0.25, 0.19), (0.75, 0.81)):
            pen.line([(x, 0.51), (ear, 0.52)], _FRAME, 0.024)
    return np.asarray(pen.image.reduce(_OVERSAMPLING))


def _back_hair(pen: _Pen, face: Face) -> None:
    colour = _dim(HAIR_COLOURS[face.hair], 0.88)
    if face.hair_style == "long":
        pen.oval(0.5, 0.45, 0.39, 0.39, colour)
        pen.polygon([(0.11, 0.45), (0.89, 0.45), (0.93, 1.05), (0.07, 1.05)], colour)
    elif face.hair_style == "bob":
        pen.oval(0.5, 0.47, 0.39, 0.38, colour)
        pen.polygon([(0.11, 0.47), (0.89, 0.47), (0.86, 0.80), (0.14, 0.80)], colour)
    elif face.hair_style == "twintails":
        for side in (-1, 1):
            pen.oval(0.5 + side * 0.40, 0.55, 0.095, 0.33, colour)
            pen.oval(0.5 + side * 0.36, 0.27, 0.05, 0.05, (226, 60, 90))
    elif face.hair_style == "spiky":
        for tip in np.linspace(-0.46, 0.46, 8):
            foot, top = 0.5 + 0.62 * tip, (0.5 + tip, 0.02 + 0.55 * tip**2)
            pen.polygon([(foot - 0.13, 0.34), top, (foot + 0.13, 0.34)], colour)


def _front_hair(pen: _Pen, face: Face) -> None:
    colour = HAIR_COLOURS[face.hair]
    pen.cap(0.5, 0.40, 0.335, 0.295, colour)
    # Strands of the fringe; their tips end above the eyes, which must stay readable.
    for left, tip, right, low in (
        (0.165, 0.20, 0.34, 0.56),
        (0.26, 0.29, 0.42, 0.48),
        (0.38, 0.46, 0.54, 0.47),
        (0.50, 0.57, 0.66, 0.46),
        (0.60, 0.72, 0.75, 0.48),
        (0.66, 0.80, 0.835, 0.56),
    ):
        pen.polygon([(left, 0.39), (right, 0.39), (tip, low)], colour)
    if face.hair_style in ("bob", "long"):
        for side in (-1, 1):
            x = 0.5 + side * 0.315
            low = 0.78 if face.hair_style == "bob" else 0.95
            pen.polygon([(x - 0.05, 0.38), (x + 0.05, 0.38), (x + side * 0.04, low)], colour)
    shine = _blend(colour, _WHITE, 0.35)
    pen.arc((0.5, 0.42, 0.25, 0.21), (218, 262), shine, 0.022)
    pen.line([(0.5, 0.12), (0.5, 0.17)], _dim(colour, 0.8), 0.012)


def _eyes(pen: _Pen, face: Face) -> None:
    colour = EYE_COLOURS[face.eyes]
    for x in (0.365, 0.635):
        pen.oval(x, 0.525, 0.083, 0.083, _WHITE)
        pen.oval(x, 0.53, 0.060, 0.076, colour)
        pen.oval(x, 0.54, 0.020, 0.030, (24, 18, 26))
        pen.oval(x + 0.024, 0.492, 0.017, 0.019, _WHITE)
        pen.arc((x, 0.53, 0.092, 0.095), (200, 340), _LINE, 0.024)
    brow = _dim(HAIR_COLOURS[face.hair], 0.7)
    for x, tilt in ((0.365, -0.008), (0.635, 0.008)):
        pen.line([(x - 0.06, 0.405 - tilt), (x + 0.06, 0.405 + tilt)], brow, 0.018)


def _mask(pen: _Pen, face: Face) -> None:
    colour = MASK_COLOURS[face.mask_colour]
    for x, ear in ((0.25, 0.2), (0.75, 0.8)):
        pen.line([(x, 0.68), (ear, 0.58)], _dim(colour, 0.9), 0.016)
    outline = [(0.23, 0.65), (0.5, 0.60), (0.77, 0.65), (0.74, 0.78), (0.60, 0.885), (0.40, 0.885)]
    pen.polygon([*outline, (0.26, 0.78)], colour)
    for y in (0.71, 0.77):
        pen.line([(0.31, y), (0.5, y + 0.015), (0.69, y)], _dim(colour, 0.88), 0.012)


def _dim(colour: RGB, factor: float) -> RGB:
    return _blend((0, 0, 0), colour, factor)


def _blend(a: RGB, b: RGB, share: float) -> RGB:
    red, green, blue = (round((1 - share) * x + share * y) for x, y in zip(a, b, strict=True))
    return red, green, blue


def read_attributes(image: NDArray[np.uint8]) -> VisibleAttributes:
    """Read a face's attributes from the colours at the places where a face shows them.

    The image, [H, W, 3], uint8 RGB, at least 32 x 32, is laid out like the faces drawn here; of any
    other one the nearest attributes are returned.
    """
    hair = _nearest(_region(image, 0.34, 0.66, 0.18, 0.30), list(HAIR_COLOURS.values()))
    bridge = _nearest(_region(image, 0.475, 0.525, 0.48, 0.55), [*SKIN_COLOURS, _FRAME])
    mouth = _nearest(_region(image, 0.42, 0.58, 0.68, 0.80), [*SKIN_COLOURS, _MOUTH, *MASK_COLOURS])
    return VisibleAttributes(
        hair=list(HAIR_COLOURS)[np.bincount(hair).argmax()],
        eyes=_read_eyes(image),
        glasses=bool((bridge == len(SKIN_COLOURS)).mean() > 0.15),
        mask=bool((mouth > len(SKIN_COLOURS)).mean() > 0.5),
    )


def read_faces(images: Tensor) -> list[VisibleAttributes]:
    """Read the attributes of faces [N, 3, H, W] in [-1, 1], generated ones too."""
    pixels = to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()
    return [read_attributes(picture) for picture in pixels]


def _read_eyes(image: NDArray[np.uint8]) -> str:
    boxes = [_region(image, x - 0.05, x + 0.05, 0.47, 0.60) for x in (0.365, 0.635)]
    names = list(EYE_COLOURS)
    palette = [*EYE_COLOURS.values(), _WHITE, *SKIN_COLOURS]
    counts = np.bincount(_nearest(np.concatenate(boxes), palette), minlength=len(palette))
    votes = dict(zip(names, counts.tolist(), strict=False))
    # Every eye has a dark pupil, so black wins only where no colour is left around it.
    black = votes.pop("black")
    best = max(votes, key=votes.__getitem__)
    return best if votes[best] > 0.4 * black else "black"


def _region(
    image: NDArray[np.uint8], left: float, right: float, top: float, bottom: float
) -> NDArray[np.float64]:
    """Return the pixels [P, 3] of a box given in units of the image side."""
    height, width = image.shape[:2]
    rows = slice(round(top * height), max(round(bottom * height), round(top * height) + 1))
    columns = slice(round(left * width), max(round(right * width), round(left * width) + 1))
    return image[rows, columns].reshape(-1, 3).astype(np.float64)


def _nearest(pixels: NDArray[np.float64], palette: list[RGB]) -> NDArray[np.intp]:
    """Find the index of each pixel's nearest palette entry, [P]."""
    return np.asarray(((pixels[:, None] - np.array(palette)) ** 2).sum(axis=2).argmin(axis=1))
