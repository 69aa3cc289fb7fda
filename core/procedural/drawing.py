"""Draw a scene's geometry into index maps of parts, without any colour."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from core.procedural.materials import Material, Part
from core.procedural.scene import Colour, House, Point, Scene, Tree

Leaves = Literal["both", "summer", "winter"]
_GROUND = -1.0
"""Stands for the ground while `feet` are drawn."""
FLOWER_COLOURS: tuple[Colour, ...] = ((0.97, 0.95, 0.92), (0.96, 0.78, 0.20), (0.88, 0.35, 0.45))


class Canvas:
    """Two index maps of one scene, with leaves and flowers and without, and the cast shadows.

    `parts` says what the indices in `summer` and `winter`, [side, side] uint8, mean; `shadows`,
    [side, side] bool, is where something throws its shadow on the ground; `feet`, [side, side]
    float32, the height in the picture at which what is seen in summer stands on the ground: the
    ground itself has its own, and the sky and the far ranges none, which is 0.
    """

    def __init__(self, scene: Scene, side: int) -> None:
        """Draw a scene into square maps of `side` pixels."""
        self.parts: dict[Part, int] = {}
        self._side = side
        self._light_from_left = scene.sun.x < 0.5
        maps = {season: Image.new("L", (side, side)) for season in ("summer", "winter")}
        self._pens = {season: ImageDraw.Draw(image) for season, image in maps.items()}
        feet = Image.new("F", (side, side))
        self._feet_pen, self._foot = ImageDraw.Draw(feet), 0.0
        shadows = Image.new("L", (side, side))
        self._shadow_pen = ImageDraw.Draw(shadows)
        self._draw(scene)
        self.summer, self.winter = (np.asarray(image) for image in maps.values())
        self.shadows = np.asarray(shadows) > 0
        rows = (np.arange(side, dtype=np.float32) + 0.5) / side
        self.feet = np.where(np.asarray(feet) == _GROUND, rows[:, None], np.asarray(feet))

    def _index(self, part: Part) -> int:
        index = self.parts.setdefault(part, len(self.parts))
        assert index < 256, "a scene has more parts than an 8-bit map can tell apart"
        return index

    def _pens_of(self, leaves: Leaves) -> list[ImageDraw.ImageDraw]:
        return list(self._pens.values()) if leaves == "both" else [self._pens[leaves]]

    def _scaled(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self._side, y * self._side) for x, y in points]

    def _polygon(self, points: Sequence[Point], part: Part) -> None:
        for pen in self._pens.values():
            pen.polygon(self._scaled(points), fill=self._index(part))
        self._feet_pen.polygon(self._scaled(points), fill=self._foot)

    def _disc(self, x: float, y: float, radius: float, part: Part, leaves: Leaves) -> None:
        box = self._scaled([(x - radius, y - radius), (x + radius, y + radius)])
        for pen in self._pens_of(leaves):
            pen.ellipse(box, fill=self._index(part))
        if leaves != "winter":
            self._feet_pen.ellipse(box, fill=self._foot)

    def _line(self, a: Point, b: Point, width: float, part: Part, leaves: Leaves) -> None:
        pixels = max(1, round(width * self._side))
        for pen in self._pens_of(leaves):
            pen.line(self._scaled((a, b)), fill=self._index(part), width=pixels)
        if leaves != "winter":
            self._feet_pen.line(self._scaled((a, b)), fill=self._foot, width=pixels)

    def _draw(self, scene: Scene) -> None:
        self._index(Part(Material.SKY))  # index 0: what an empty map is full of
        self._disc(scene.sun.x, scene.sun.y, scene.sun.radius, Part(Material.SUN), "both")
        for crest, material in (
            (scene.hills[0], Material.FAR_HILL),
            (scene.hills[1], Material.NEAR_HILL),
            (scene.meadow, Material.MEADOW),
            (scene.bank, Material.BANK),
        ):
            self._foot = _GROUND if material in (Material.MEADOW, Material.BANK) else 0.0
            self._polygon([*crest, (1.02, 1.02), (-0.02, 1.02)], Part(material))
        for place, (x, y) in enumerate(scene.flowers):
            part = Part(Material.FLOWER, 1.0, FLOWER_COLOURS[place % len(FLOWER_COLOURS)])
            self._disc(x, y, 0.002 + 0.007 * (y - 0.5), part, "summer")
        self._polygon(scene.water.outline(0.012), Part(Material.SHORE))
        self._polygon(scene.water.outline(), Part(Material.WATER))
        things: list[Tree | House] = [*scene.trees, *scene.houses]
        for thing in sorted(things, key=lambda thing: thing.y):
            self._foot = thing.y
            if isinstance(thing, House):
                self._house(thing)
            elif thing.kind == "conifer":
                self._conifer(thing)
            else:
                self._deciduous(thing)

    def _shadow(self, x: float, y: float, half: float, height: float) -> None:
        """Draw a flat ellipse from the foot away from the sun."""
        reach = 0.55 * height * (1 if self._light_from_left else -1)
        left, right = min(x - half, x - half + reach), max(x + half, x + half + reach)
        box = self._scaled([(left, y - 0.10 * height), (right, y + 0.05 * height)])
        self._shadow_pen.ellipse(box, fill=255)

    def _conifer(self, tree: Tree) -> None:
        x, y, height = tree.x, tree.y, tree.height
        rng = np.random.default_rng(tree.shape)
        self._shadow(x, y, 0.12 * height, height)
        self._line((x, y), (x, y - 0.3 * height), 0.06 * height, Part(Material.TRUNK), "both")
        tiers, width = int(rng.integers(3, 5)), height * rng.uniform(0.22, 0.28)
        foot, reach = y - 0.12 * height, 0.88 * height
        for tier in range(tiers):
            low = foot - reach * tier / (tiers + 0.6)
            top = foot - reach * min((tier + 1.75) / (tiers + 0.6), 1.0)
            half = width * (1.0 - 0.8 * tier / tiers)
            for side, lit in ((-1, self._light_from_left), (1, not self._light_from_left)):
                needles = Material.CONIFER_LIT if lit else Material.CONIFER_SHADE
                bough = Material.BOUGH_LIT if lit else Material.BOUGH_SHADE
                tip, hem = (x + side * half, low), (x, low - 0.03 * height)
                self._polygon([(x, top), tip, hem], Part(needles, tree.shade))
                # The upper part of a tier, where snow lies; its lower edge is a zigzag.
                drops = ((0.80, 0.80), (0.50, 0.66), (0.25, 0.78), (0.0, 0.62))
                zigzag = [(x + side * half * out, top + down * (low - top)) for out, down in drops]
                self._polygon([(x, top), *zigzag], Part(bough, tree.shade))

    def _deciduous(self, tree: Tree) -> None:
        x, y, height = tree.x, tree.y, tree.height
        rng = np.random.default_rng(tree.shape)
        self._shadow(x, y, 0.2 * height, 0.9 * height)
        fork = y - 0.38 * height
        self._line((x, y), (x, fork), 0.075 * height, Part(Material.TRUNK), "both")
        self._twigs(rng, (x, fork), 0.30 * height, -math.pi / 2, 0.035 * height)
        centre, radius = y - 0.64 * height, 0.22 * height
        sun = -1 if self._light_from_left else 1
        blobs = [(0.0, 0.0, 1.0)]
        for angle in np.linspace(0, 2 * math.pi, 7, endpoint=False) + rng.uniform(0, 1):
            reach = rng.uniform(0.62, 0.85)
            blobs.append((reach * math.cos(angle), reach * math.sin(angle), rng.uniform(0.5, 0.68)))
        # One crown three times: dark, then smaller and shifted towards the sun, brighter.
        for material, shrink, shift in (
            (Material.LEAVES_SHADE, 1.0, 0.0),
            (Material.LEAVES, 0.86, 0.12),
            (Material.LEAVES_LIT, 0.5, 0.36),
        ):
            part = Part(material, tree.shade)
            for blob_x, blob_y, blob_radius in blobs:
                disc_x = x + radius * (blob_x * shrink + sun * shift)
                disc_y = centre + radius * (blob_y * shrink - shift)
                self._disc(disc_x, disc_y, radius * blob_radius * shrink, part, "summer")

    def _twigs(
        self, rng: np.random.Generator, start: Point, length: float, angle: float, width: float
    ) -> None:
        """Draw bare branches, which fork until they are too short to be seen."""
        for spread in (-0.55, 0.0, 0.55):
            turn = angle + spread + rng.uniform(-0.2, 0.2)
            reach = length * rng.uniform(0.8, 1.1)
            end = (start[0] + reach * math.cos(turn), start[1] + reach * math.sin(turn))
            self._line(start, end, width, Part(Material.TWIG), "winter")
            if length > 0.035:
                self._twigs(rng, end, 0.55 * length, turn, 0.6 * width)

    def _house(self, house: House) -> None:
        x, y, width = house.x, house.y, house.width

        def place(right: float, up: float) -> Point:
            """Convert from units of the house's width, mirrored if the gable is on the right."""
            return (x + width * (right if house.gable_left else 1 - right), y - width * up)

        def shape(points: Sequence[Point], part: Part) -> None:
            self._polygon([place(*point) for point in points], part)

        gable_lit = house.gable_left == self._light_from_left
        gable = Part(Material.WALL, 1.0 if gable_lit else 0.74, house.wall)
        side = Part(Material.WALL, 0.74 if gable_lit else 1.0, house.wall)
        roof = Material.ROOF_SHADE if gable_lit else Material.ROOF_LIT
        self._shadow(x + width / 2, y, 0.45 * width, 0.7 * width)
        shape([(0.74, 0.5), (0.74, 0.86), (0.83, 0.86), (0.83, 0.5)], gable)  # chimney
        shape([(0.72, 0.86), (0.72, 0.90), (0.85, 0.90), (0.85, 0.86)], Part(roof, 0.8, house.roof))
        shape([(0.4, 0), (0.4, 0.42), (0.97, 0.42), (0.97, 0)], side)
        shape([(0.0, 0), (0.0, 0.42), (0.2, 0.76), (0.4, 0.42), (0.4, 0)], gable)
        shape([(0.2, 0.78), (0.86, 0.78), (1.02, 0.38), (0.42, 0.38)], Part(roof, 1.0, house.roof))
        eaves = Part(Material.EAVES, 0.7, house.roof)
        self._line(place(-0.04, 0.37), place(0.2, 0.78), 0.05 * width, eaves, "both")
        self._line(place(0.2, 0.78), place(0.43, 0.38), 0.05 * width, eaves, "both")
        shape([(0.13, 0), (0.13, 0.27), (0.28, 0.27), (0.28, 0)], Part(Material.DOOR))
        window = Part(Material.WINDOW)
        for left in (0.50, 0.76):
            shape([(left, 0.13), (left, 0.29), (left + 0.14, 0.29), (left + 0.14, 0.13)], window)
