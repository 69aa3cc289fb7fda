"""Labels, materials and palettes of the procedural landscapes.

A label is what a thing is (for scores and label maps), a material what it is drawn with: one label
has several, e.g. the lit and the shaded side of a roof.
"""

from enum import Enum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.procedural.scene import Colour, SceneStyle

Season = Literal["summer", "winter"]
FloatArray = NDArray[np.float32]

LABELS: dict[str, tuple[int, int, int]] = {
    "sky": (120, 190, 240),
    "sun": (255, 225, 70),
    "hill": (140, 120, 170),
    "ground": (150, 205, 90),
    "water": (30, 95, 200),
    "conifer": (0, 85, 70),
    "deciduous": (40, 160, 45),
    "trunk": (110, 65, 25),
    "wall": (240, 200, 160),
    "roof": (200, 40, 40),
    "door": (90, 20, 90),
    "window": (0, 230, 230),
}
"""{class of the label maps: RGB for display}; a class's index is its place here."""
LABEL_INDEX = {label: index for index, label in enumerate(LABELS)}


class Look(NamedTuple):
    """How a material looks."""

    label: str
    """A key of `LABELS`."""
    summer: Colour
    """Colour in summer: at full greenness for plants."""
    winter: Colour
    """Colour in winter where no snow lies."""
    snow: float = 0.0
    """How readily snow stays on it; 0 never, 1 as on open ground."""
    shade: float = 1.0
    """Brightness of the snow on it."""
    grain: float = 0.0
    """Strength of its texture."""
    dry: Colour | None = None
    """Colour in summer at greenness 0; None for what does not wither."""


_WALL = (0.9, 0.85, 0.75)
_ROOF = (0.6, 0.3, 0.2)
_BARK = (0.36, 0.25, 0.18)
_BARK_WINTER = (0.27, 0.22, 0.20)


class Material(Enum):
    """What things are drawn with: a look each, its numbers being snow, shade and grain."""

    SKY = Look("sky", (0.5, 0.7, 0.9), (0.8, 0.84, 0.88))
    SUN = Look("sun", (1.0, 0.92, 0.45), (1.0, 0.96, 0.84))
    FAR_HILL = Look("hill", (0.50, 0.62, 0.72), (0.58, 0.61, 0.67), 0.95, 0.76, 0.05)
    NEAR_HILL = Look(
        "hill", (0.34, 0.54, 0.38), (0.42, 0.42, 0.42), 0.9, 0.84, 0.09, dry=(0.55, 0.57, 0.38)
    )
    MEADOW = Look(
        "ground", (0.47, 0.72, 0.24), (0.56, 0.50, 0.37), 1.0, 1.0, 0.13, dry=(0.80, 0.74, 0.34)
    )
    BANK = Look(
        "ground", (0.39, 0.65, 0.20), (0.50, 0.44, 0.33), 1.0, 1.0, 0.16, dry=(0.73, 0.66, 0.29)
    )
    SHORE = Look("ground", (0.70, 0.62, 0.42), (0.52, 0.47, 0.42), 0.85, 0.93, 0.10)
    FLOWER = Look("ground", (0.95, 0.9, 0.9), (0.5, 0.45, 0.35), 1.0)
    WATER = Look("water", (0.10, 0.36, 0.60), (0.50, 0.74, 0.90), 0.35, 0.97)
    CONIFER_LIT = Look("conifer", (0.12, 0.37, 0.22), (0.13, 0.28, 0.23), 0.22, 1.0, 0.16)
    CONIFER_SHADE = Look("conifer", (0.06, 0.25, 0.17), (0.08, 0.19, 0.18), 0.15, 0.85, 0.16)
    BOUGH_LIT = Look("conifer", (0.18, 0.45, 0.25), (0.17, 0.33, 0.26), 1.1, 1.0, 0.12)
    BOUGH_SHADE = Look("conifer", (0.09, 0.30, 0.19), (0.10, 0.22, 0.20), 1.1, 0.84, 0.12)
    LEAVES = Look("deciduous", (0.28, 0.56, 0.14), _BARK_WINTER, grain=0.22, dry=(0.60, 0.56, 0.16))
    LEAVES_LIT = Look(
        "deciduous", (0.42, 0.66, 0.19), _BARK_WINTER, grain=0.20, dry=(0.76, 0.68, 0.24)
    )
    LEAVES_SHADE = Look(
        "deciduous", (0.14, 0.37, 0.10), _BARK_WINTER, grain=0.22, dry=(0.42, 0.40, 0.12)
    )
    TRUNK = Look("trunk", _BARK, _BARK_WINTER, grain=0.10)
    TWIG = Look("deciduous", _BARK, _BARK_WINTER, 0.35)
    WALL = Look("wall", _WALL, _WALL, grain=0.04)
    ROOF_LIT = Look("roof", _ROOF, _ROOF, 0.95, 0.88, 0.09)
    ROOF_SHADE = Look("roof", _ROOF, _ROOF, 0.95, 0.76, 0.09)
    EAVES = Look("roof", _ROOF, _ROOF, 1.0)
    DOOR = Look("door", (0.34, 0.20, 0.13), (0.34, 0.20, 0.13))
    WINDOW = Look("window", (0.33, 0.44, 0.55), (0.36, 0.42, 0.50))


_GREEN = frozenset(
    {Material.MEADOW, Material.BANK, Material.LEAVES, Material.LEAVES_LIT, Material.LEAVES_SHADE}
    | {Material.CONIFER_LIT, Material.CONIFER_SHADE, Material.BOUGH_LIT, Material.BOUGH_SHADE}
)


class Part(NamedTuple):
    """One entry of a scene's index map: a material of brightness `tint`.

    `colour` replaces the material's in both seasons (walls, roofs, flowers).
    """

    material: Material
    tint: float = 1.0
    colour: Colour | None = None


class PartTable(NamedTuple):
    """Looks of all P parts of a scene, as arrays to be indexed by its index map.

    Colours are [P, 3], without light; `snow` [P] is how readily it stays, `grain` [P] the strength
    of the texture.
    """

    colour: FloatArray
    snow_colour: FloatArray
    snow: FloatArray
    grain: FloatArray


class Sky(NamedTuple):
    """How a season's sky looks; pairs are colours at noon and at the golden hour."""

    zenith: tuple[Colour, Colour]
    """Colour at the upper edge."""
    horizon: tuple[Colour, Colour]
    clouds: tuple[Colour, Colour]
    glow: tuple[Colour, Colour]
    """Colour around the sun."""
    glow_strength: float
    """Share of that colour at the sun's edge."""
    overcast: float
    """Share of cloudy sky, added to the style's."""


SKIES: dict[Season, Sky] = {
    "summer": Sky(
        zenith=((0.16, 0.46, 0.86), (0.36, 0.50, 0.80)),
        horizon=((0.70, 0.87, 0.97), (1.00, 0.76, 0.48)),
        clouds=((1.00, 1.00, 1.00), (1.00, 0.86, 0.76)),
        glow=((1.0, 0.94, 0.74), (1.0, 0.90, 0.64)),
        glow_strength=0.55,
        overcast=0.0,
    ),
    "winter": Sky(
        zenith=((0.56, 0.68, 0.82), (0.56, 0.58, 0.75)),
        horizon=((0.76, 0.84, 0.91), (0.96, 0.78, 0.70)),
        clouds=((0.74, 0.78, 0.83), (0.80, 0.73, 0.77)),
        glow=((1.0, 0.96, 0.92), (1.0, 0.93, 0.86)),
        glow_strength=0.35,
        overcast=0.15,
    ),
}


def label_indices(parts: tuple[Part, ...]) -> NDArray[np.uint8]:
    """Return the label of each part, [P] uint8, as an index into `LABELS`."""
    return np.array([LABEL_INDEX[part.material.value.label] for part in parts], dtype=np.uint8)


def part_table(parts: tuple[Part, ...], season: Season, style: SceneStyle) -> PartTable:
    """Look up colours and snow of all parts in a season and style."""
    looks = [part.material.value for part in parts]
    snow, dark, grain = np.array([(x.snow, 1.0 - x.shade, x.grain) for x in looks], np.float32).T
    # Snow in the shade is lit by the sky alone: darker and bluer.
    blue = dark[:, None] * np.array([1.3, 1.0, 0.3], dtype=np.float32)
    snow_colour = mix((0.99, 0.99, 0.98), (0.92, 0.96, 1.0), style.frost) * (1.0 - blue)
    colour = np.stack([part.tint * _colour(part, season, style) for part in parts])
    return PartTable(colour.astype(np.float32), snow_colour, snow, grain)


def _colour(part: Part, season: Season, style: SceneStyle) -> FloatArray:
    look = part.material.value
    if part.material == Material.WINDOW:
        # Lamps are lit towards the evening, earlier in winter.
        lamp = np.clip(2.5 * style.time_of_day - (1.0 if season == "winter" else 1.5), 0, 1)
        return mix(getattr(look, season), (1.0, 0.80, 0.36), float(lamp))
    if part.colour is not None:
        return np.array(part.colour, dtype=np.float32)
    if season == "winter":
        return np.array(look.winter, dtype=np.float32)
    colour = mix(look.dry or look.summer, look.summer, style.greenness)
    if part.material in _GREEN:
        colour = colour * (1.0 + style.hue * np.array([-0.16, 0.0, 0.30], dtype=np.float32))
    return colour


def light(season: Season, style: SceneStyle) -> FloatArray:
    """Return the colour of the light, [3], by which everything but the sky is multiplied."""
    if season == "summer":
        colour = mix((1.0, 1.0, 1.0), (1.12, 0.96, 0.78), style.time_of_day)
    else:
        colour = mix((1.00, 1.01, 1.03), (1.04, 0.97, 0.95), style.time_of_day)
        colour = colour * mix((1.0, 1.0, 1.0), (0.95, 0.98, 1.03), style.frost)
    return style.brightness * colour


def mix(a: Colour, b: Colour, share: float) -> FloatArray:
    """Mix two colours: `a` at share 0, `b` at share 1."""
    return ((1.0 - share) * np.array(a) + share * np.array(b)).astype(np.float32)
