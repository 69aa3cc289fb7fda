"""Draw procedural landscapes in summer and winter, with the same geometry and a known label map.

A scene is drawn once, enlarged, into index maps of parts (`core.procedural.drawing`). A season and
a style then are a colour table, snow and light (`core.procedural.materials`). So the two seasons
agree to the pixel, and any scene can be rendered in any other scene's style.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.procedural import materials
from core.procedural.drawing import Canvas
from core.procedural.materials import LABEL_INDEX, LABELS, FloatArray, Material, Season, mix
from core.procedural.scene import Scene, SceneStyle, Sun

T = TypeVar("T", bound=np.generic)
Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

OVERSAMPLING = 2
"""Everything is drawn this much larger and averaged down: smooth edges."""


@dataclass(frozen=True)
class _Raster:
    """A drawn scene at S = OVERSAMPLING * size pixels; nothing here depends on season or style."""

    parts: tuple[materials.Part, ...]
    """What the indices mean."""
    summer: Picture
    """[S, S] index map with leaves and flowers."""
    winter: Picture
    """[S, S] index map without."""
    labels: Picture
    """[S, S], into `LABELS`; one for both seasons."""
    shadows: Mask
    """[S, S], shadows on the ground."""
    patches: FloatArray
    """[S, S] in [0, 1], about uniformly distributed; large soft spots (snow, clouds)."""
    grain: FloatArray
    """[S, S], about normally distributed; fine texture."""
    streaks: FloatArray
    """[S, S], likewise, drawn out sideways; grass, ripples, cracks."""
    feet: FloatArray
    """[S, S], where what is seen stands, in heights of the picture; 0 in the distance."""


def render(scene: Scene, season: Season, size: int, style: SceneStyle | None = None) -> Picture:
    """Draw a picture of a scene, [size, size, 3], uint8 RGB.

    Summer is domain A, winter domain B; `style` may be that of any other scene and defaults to the
    scene's own.
    """
    style = style or scene.style
    raster = _rasterise(scene, size)
    table = materials.part_table(raster.parts, season, style)
    indices = raster.summer if season == "summer" else raster.winter
    texture = 1.0 + table.grain.take(indices) * (0.6 * raster.grain + 0.4 * raster.streaks)
    picture = table.colour.take(indices, axis=0) * texture[..., None]
    if season == "winter":
        _snow(picture, raster, table, indices, style.snow_cover)
    ground = materials.label_indices(raster.parts)[indices] == LABEL_INDEX["ground"]
    _shade(picture, ground, raster.shadows, season)
    if season == "winter":
        _bare_crowns(picture, raster)
    picture *= materials.light(season, style)
    sky, water = (
        np.array([part.material is material for part in raster.parts])[indices]
        for material in (Material.SKY, Material.WATER)
    )
    _sky(picture, sky, raster, scene.sun, season, style)
    _water(picture, raster, water, scene, season)
    small = np.stack(_offsets(picture)).mean(axis=0)
    return (small.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def label_map(scene: Scene, size: int) -> Picture:
    """Draw the true classes of a scene, the same in both seasons, [size, size], uint8.

    Each pixel is the index in `LABELS` of the class that covers most of it (the first of equals).
    """
    offsets = np.stack(_offsets(_rasterise(scene, size).labels))
    covered = [(offsets == index).sum(axis=0) for index in range(len(LABELS))]
    return np.argmax(covered, axis=0).astype(np.uint8)


def depth_map(scene: Scene, size: int) -> NDArray[np.uint16]:
    """Draw how far away everything is, [size, size], in millimetres: what a depth camera gives.

    On a plain seen from eye height distance is one over the depth below the horizon. The nearest
    ground is at about 3 m; beyond 30 m, and where there is no ground, it is 30 m.
    """
    feet = np.stack(_offsets(_rasterise(scene, size).feet)).max(axis=0)
    horizon = min(y for _, y in scene.meadow) - 0.01
    below = (feet - horizon).clip(1e-6)
    metres = np.where(feet > 0, 1.5 / below, 30.0).clip(0.0, 30.0)
    return np.rint(metres * 1000).astype(np.uint16)


def colour_labels(labels: Picture) -> Picture:
    """Return a label map [H, W] in its display colours, [H, W, 3] uint8."""
    return np.array([*LABELS.values()], dtype=np.uint8)[labels]


@lru_cache(maxsize=2)
def _rasterise(scene: Scene, size: int) -> _Raster:
    """Draw a scene; cached, since summer, winter and labels follow each other."""
    side = OVERSAMPLING * size
    canvas = Canvas(scene, side)
    parts, summer, winter = tuple(canvas.parts), canvas.summer, canvas.winter
    labels = materials.label_indices(parts)[summer]
    rng = np.random.default_rng(scene.texture)
    patches = _noise(rng, side, ((4, 5), 1.0), ((9, 9), 0.6), ((22, 18), 0.35))
    patches = 1.0 / (1.0 + np.exp(-1.7 * patches))  # normal to about uniform
    grain = _noise(rng, side, ((48, 48), 1.0), ((96, 96), 1.0))
    streaks = _noise(rng, side, ((40, 10), 1.0), ((96, 24), 0.8))
    return _Raster(
        parts, summer, winter, labels, canvas.shadows, patches, grain, streaks, canvas.feet
    )


def _noise(
    rng: np.random.Generator, side: int, *fields: tuple[tuple[int, int], float]
) -> FloatArray:
    """Add up smooth random fields ([rows, columns], strength); about normal with deviation 1.

    The grids are fixed, not a number of pixels: a scene has the same texture at any size.
    """
    total = np.zeros((side, side), dtype=np.float32)
    for grid, strength in fields:
        field = Image.fromarray(rng.standard_normal(grid, dtype=np.float32))
        total += strength * np.asarray(field.resize((side, side), Image.Resampling.BICUBIC))
    return total / total.std()


def _offsets(enlarged: NDArray[T]) -> list[NDArray[T]]:
    """Split into the OVERSAMPLING ** 2 pixels behind each pixel, an array for each place.

    Many times faster than a mean over the axes of a reshaped array.
    """
    steps = range(OVERSAMPLING)
    return [enlarged[row::OVERSAMPLING, column::OVERSAMPLING] for row in steps for column in steps]


def _bare_crowns(picture: FloatArray, raster: _Raster) -> None:
    """Draw twigs too thin for lines: a brownish haze where the leaves were."""
    crowns = raster.labels == LABEL_INDEX["deciduous"]
    haze = (0.42 + 0.10 * raster.grain[crowns]).clip(0.0, 0.8)[:, None]
    twigs = np.array([0.40, 0.34, 0.32], dtype=np.float32)
    picture[crowns] += haze * (twigs - picture[crowns])


def _snow(
    picture: FloatArray, raster: _Raster, table: materials.PartTable, indices: Picture, cover: float
) -> None:
    """Lay snow: first in the patches' hollows, everywhere as the cover grows."""
    readiness, colour = table.snow.take(indices), table.snow_colour.take(indices, axis=0)
    depth = 1.3 * cover * readiness - raster.patches - 0.07 * raster.grain
    amount = (depth / 0.18).clip(0.0, 1.0) * (readiness > 0)
    soft = 1.0 + 0.025 * raster.streaks
    picture += amount[..., None] * (colour * soft[..., None] - picture)


def _shade(picture: FloatArray, ground: Mask, shadows: Mask, season: Season) -> None:
    """Darken the ground in shadows and towards the viewer."""
    side = picture.shape[0]
    near = np.linspace(-1.0, 1.0, side, dtype=np.float32)[:, None].clip(0.0, 1.0)
    strength = 0.14 if season == "summer" else 0.06
    picture *= (1.0 - strength * near * ground)[..., None]
    shade = (0.62, 0.66, 0.72) if season == "summer" else (0.76, 0.82, 0.93)
    picture[shadows & ground] *= np.array(shade, dtype=np.float32)


def _sky(
    picture: FloatArray, mask: Mask, raster: _Raster, sun: Sun, season: Season, style: SceneStyle
) -> None:
    """Draw a gradient from zenith to horizon, a glow around the sun, and clouds."""
    side, late, look = picture.shape[0], style.time_of_day, materials.SKIES[season]
    zenith, horizon, clouds = (
        style.brightness * mix(*ends, late) for ends in (look.zenith, look.horizon, look.clouds)
    )
    rows = int(np.flatnonzero(mask.any(axis=1))[-1]) + 1  # no sky below: half the work
    mask, patches = mask[:rows], raster.patches[side - rows :][::-1]
    y, x = (np.mgrid[0:rows, 0:side].astype(np.float32) + 0.5) / side
    height = (y / 0.45).clip(0.0, 1.0)[..., None]
    sky = zenith + height * (horizon - zenith)
    distance = np.hypot(x - sun.x, y - sun.y) - sun.radius
    glow = np.exp(-distance.clip(0.0) / 0.07)[..., None]
    sky += look.glow_strength * glow * (mix(*look.glow, late) - sky)
    cloud = ((style.clouds + look.overcast - patches) / 0.3).clip(0.0, 0.85)[..., None]
    sky += cloud * (clouds * (1.0 + 0.03 * raster.streaks[:rows, :, None]) - sky)
    picture[:rows][mask] = sky[mask]


def _water(picture: FloatArray, raster: _Raster, mask: Mask, scene: Scene, season: Season) -> None:
    """Mirror what is above the far shore: clearly in summer, faintly in ice."""
    side = picture.shape[0]
    rows, columns = np.nonzero(mask)
    above = (2 * round(scene.water.top * side) - rows).clip(0, side - 1)
    share = 0.62 if season == "summer" else 0.22
    ripple = (0.05 if season == "summer" else 0.07) * raster.streaks[mask][:, None]
    water = picture[mask]
    picture[mask] = (water + share * (picture[above, columns] - water)) * (1.0 + ripple)
