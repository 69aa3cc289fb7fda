"""What a procedural landscape consists of: geometry and style, both drawn from a seed.

Geometry is what summer and winter share (and what a translation must keep); style is what may
change from picture to picture. Lengths are in units of the image side, x to the right and y
downwards from the top left corner, so that a scene can be rendered at any size.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Point = tuple[float, float]
Colour = tuple[float, float, float]

WALL_COLOURS: tuple[Colour, ...] = (
    (0.93, 0.88, 0.76),
    (0.90, 0.72, 0.52),
    (0.78, 0.42, 0.34),
    (0.70, 0.78, 0.84),
    (0.62, 0.46, 0.34),
)
ROOF_COLOURS: tuple[Colour, ...] = (
    (0.66, 0.23, 0.17),
    (0.46, 0.27, 0.20),
    (0.33, 0.36, 0.44),
    (0.78, 0.40, 0.22),
)


@dataclass(frozen=True)
class SceneStyle:
    """How a scene looks, apart from what is in it; `STYLE_RANGES` says how each value is drawn.

    The direction of the light is not a style: it follows the sun, which has a label and therefore
    belongs to the geometry.
    """

    time_of_day: float
    brightness: float
    clouds: float
    hue: float
    greenness: float
    snow_cover: float
    frost: float


STYLE_RANGES = {
    "time_of_day": (0.0, 1.0),  # 0 is noon, 1 the golden hour; colours of sky and light
    "brightness": (0.94, 1.1),  # factor on the whole picture
    "clouds": (0.0, 0.6),  # share of cloudy sky
    "hue": (-1.0, 1.0),  # vegetation from yellowish to bluish green
    "greenness": (0.0, 1.0),  # summer: grass and leaves from dry to lush
    "snow_cover": (0.5, 1.0),  # winter: share of the open ground under snow
    "frost": (0.0, 1.0),  # winter: blueness of snow, ice and shadows
}


@dataclass(frozen=True)
class Sun:
    """A disc in the sky; the light comes from its side."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Lake:
    """A flat, slightly wobbly ellipse."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    phase: float

    @property
    def top(self) -> float:
        """The far shore, about which things are mirrored."""
        return self.y - self.radius_y

    def outline(self, margin: float = 0.0) -> list[Point]:
        """Return a closed polygon, `margin` further out than the water."""
        points = []
        for angle in np.linspace(0.0, 2 * math.pi, 48, endpoint=False):
            wobble = 1.0 + 0.07 * math.sin(3 * angle + self.phase)
            x = self.x + (self.radius_x * wobble + 1.5 * margin) * math.cos(angle)
            points.append((x, self.y + (self.radius_y * wobble + margin) * math.sin(angle)))
        return points

    def covers(self, x: float, y: float, margin: float) -> bool:
        """Tell whether a foot at (x, y) would be wet or within `margin` of it."""
        dx = (x - self.x) / (1.07 * self.radius_x + margin)
        dy = (y - self.y) / (1.07 * self.radius_y + margin)
        return dx * dx + dy * dy < 1.0


@dataclass(frozen=True)
class River:
    """A winding band from the far meadow to the lower edge, widening towards the viewer."""

    x: float
    top: float
    drift: float
    swing: float
    phase: float
    width: float

    def _edges(self, y: float) -> tuple[float, float]:
        t = min(max((y - self.top) / (1.0 - self.top), 0.0), 1.0)
        winding = self.swing * math.sin(7.0 * math.sqrt(t) + self.phase) * (0.25 + t)
        centre = self.x + self.drift * t + winding
        half = 0.012 + 0.5 * self.width * t**1.3
        return centre - half, centre + half

    def outline(self, margin: float = 0.0) -> list[Point]:
        """Return a closed polygon, `margin` wider on both sides than the water."""
        rows = [float(y) for y in np.linspace(self.top, 1.02, 40)]
        left = [(self._edges(y)[0] - margin, y) for y in rows]
        right = [(self._edges(y)[1] + margin, y) for y in rows]
        return left + right[::-1]

    def covers(self, x: float, y: float, margin: float) -> bool:
        """Tell whether a foot at (x, y) would be wet or within `margin` of it."""
        left, right = self._edges(y)
        return left - margin < x < right + margin


@dataclass(frozen=True)
class Tree:
    """A tree by the middle of its foot; `shade` is a brightness, `shape` seeds its details."""

    kind: Literal["conifer", "deciduous"]
    x: float
    y: float
    height: float
    shade: float
    shape: int


@dataclass(frozen=True)
class House:
    """A house by its lower left corner, seen at an angle: a gable end and a long side."""

    x: float
    y: float
    width: float
    gable_left: bool
    wall: Colour
    roof: Colour


@dataclass(frozen=True)
class Scene:
    """The geometry of a landscape, back to front, and the style it was drawn with."""

    sun: Sun
    hills: tuple[tuple[Point, ...], tuple[Point, ...]]
    """Crest lines of the two far ranges, left to right."""
    meadow: tuple[Point, ...]
    """Crest line, as the next."""
    bank: tuple[Point, ...]
    """The nearer part of the meadow."""
    water: Lake | River
    trees: tuple[Tree, ...]
    houses: tuple[House, ...]
    flowers: tuple[Point, ...]
    """Where they stand in summer."""
    texture: int
    """Seed of all textures."""
    style: SceneStyle


def draw_style(rng: np.random.Generator) -> SceneStyle:
    """Draw a style, each value uniformly from its range."""
    values = {name: round(rng.uniform(*ends), 4) for name, ends in STYLE_RANGES.items()}
    return SceneStyle(**values)


def draw_scene(seed: int | tuple[int, ...]) -> Scene:
    """Draw the scene of a seed; geometry and style come from independent streams."""
    parts = (seed,) if isinstance(seed, int) else seed
    rng = np.random.default_rng([*parts, 0])
    horizon = rng.uniform(0.46, 0.54)
    hills = (_crest(rng, horizon - 0.10, 0.12, peaked=True), _crest(rng, horizon - 0.015, 0.055))
    meadow = _crest(rng, horizon + 0.025, 0.015)
    bank = _crest(rng, rng.uniform(0.74, 0.84), 0.035)
    water = _draw_water(rng, horizon)
    houses = _draw_houses(rng, horizon, water)
    trees = _draw_trees(rng, horizon, water, houses)
    sun = Sun(rng.uniform(0.1, 0.9), rng.uniform(0.09, 0.22), rng.uniform(0.05, 0.07))
    flowers = _draw_flowers(rng, horizon, water)
    texture = int(rng.integers(2**31))
    style = draw_style(np.random.default_rng([*parts, 1]))
    return Scene(sun, hills, meadow, bank, water, trees, houses, flowers, texture, style)


def _crest(
    rng: np.random.Generator, base: float, height: float, *, peaked: bool = False
) -> tuple[Point, ...]:
    """Draw a crest line around `base`, up to `height` higher: rolling, or with peaks."""
    x = np.linspace(-0.02, 1.02, 53)
    waves = [
        np.sin(2 * math.pi * frequency * x * rng.uniform(0.8, 1.2) + rng.uniform(0, 2 * math.pi))
        for frequency in (0.9, 2.1, 4.3)
    ]
    if peaked:
        waves = [1 - 2 * np.abs(wave) for wave in waves]
    profile = (waves[0] + 0.5 * waves[1] + 0.2 * waves[2]) / 1.7
    y = base - height * (0.5 + 0.5 * profile)
    return tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))


def _draw_water(rng: np.random.Generator, horizon: float) -> Lake | River:
    phase = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.55:
        x, y = rng.uniform(0.2, 0.8), horizon + rng.uniform(0.17, 0.23)
        radius_x, radius_y = rng.uniform(0.26, 0.42), rng.uniform(0.06, 0.09)
        return Lake(x, y, radius_x, radius_y, phase)
    x, drift, swing = rng.uniform(0.3, 0.7), rng.uniform(-0.25, 0.25), rng.uniform(0.05, 0.12)
    return River(x, horizon + 0.05, drift, swing, phase, width=rng.uniform(0.3, 0.4))


def _draw_houses(
    rng: np.random.Generator, horizon: float, water: Lake | River
) -> tuple[House, ...]:
    houses: list[House] = []
    wanted = 1 if rng.random() < 0.6 else 2
    for _ in range(60):
        y = rng.uniform(horizon + 0.09, 0.86)
        width = 0.17 + 0.3 * (y - horizon)
        x = rng.uniform(0.02, 0.98 - width)
        gable_left = bool(rng.random() < 0.5)
        wall = WALL_COLOURS[rng.integers(len(WALL_COLOURS))]
        roof = ROOF_COLOURS[rng.integers(len(ROOF_COLOURS))]
        feet = [x + share * width for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        wet = any(water.covers(foot, y - up, 0.02) for foot in feet for up in (0.0, 0.08))
        if not (wet or any(abs(house.x - x) < 1.1 * max(house.width, width) for house in houses)):
            houses.append(House(x, y, width, gable_left, wall, roof))
        if len(houses) == wanted:
            break
    return tuple(houses)


def _draw_trees(
    rng: np.random.Generator, horizon: float, water: Lake | River, houses: tuple[House, ...]
) -> tuple[Tree, ...]:
    trees: list[Tree] = []
    wanted = int(rng.integers(9, 15))
    conifer_share = rng.uniform(0.3, 0.7)
    for _ in range(20 * wanted):
        # More feet far away than near, as on a plain seen from eye height.
        depth = rng.random() ** 1.7
        x, y = rng.uniform(0.0, 1.0), horizon + 0.045 + depth * (0.93 - horizon)
        conifer = rng.random() < conifer_share
        height = (0.13 + 0.30 * depth) * rng.uniform(0.8, 1.15) * (1.1 if conifer else 0.95)
        hidden = any(
            house.x - 0.03 < x < house.x + house.width + 0.03 and y > house.y - 0.02
            for house in houses
        )
        crowded = any(
            abs(tree.x - x) < 0.3 * max(height, tree.height) and abs(tree.y - y) < 0.15
            for tree in trees
        )
        if not (hidden or crowded or water.covers(x, y, 0.02)):
            shade, shape = round(rng.uniform(0.86, 1.14), 1), int(rng.integers(2**31))
            trees.append(Tree("conifer" if conifer else "deciduous", x, y, height, shade, shape))
        if len(trees) == wanted:
            break
    return tuple(trees)


def _draw_flowers(
    rng: np.random.Generator, horizon: float, water: Lake | River
) -> tuple[Point, ...]:
    places = rng.uniform((0.0, horizon + 0.2), (1.0, 1.0), size=(int(rng.integers(10, 45)), 2))
    return tuple((x, y) for x, y in places.tolist() if not water.covers(x, y, 0.02))
