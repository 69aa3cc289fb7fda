"""Random changes of training images besides crop and flip: turned, enlarged, recoloured.

All are of one image, or of both images of a pair, and the crop is taken from the changed image in
one resampling. What a turn brings in from outside is the image, mirrored at its borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from core.data.picture import Pixels
from core.errors import UserError
from core.options import AugmentOptions, DataOptions, Input

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luminance (BT.601, as Pillow's gray) and two axes of colour."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for an image; factors of 1 and a `hue` of 0 change nothing.

    Attributes:
        turn: Degrees, counterclockwise.
        zoom: Factor of the size.
        brightness: Factor of every value.
        contrast: Factor of the distance from the mean luminance.
        saturation: Factor of the distance from gray.
        hue: Turns of the colour circle.
    """

    turn: float = 0.0
    zoom: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator, options: AugmentOptions) -> Augmentation:
        """Draw evenly from the ranges of the options; the zoom evenly in its logarithm."""
        u = rng.random(6)
        either = 2 * u - 1
        low, high = np.log(options.scale)
        return cls(
            turn=float(either[0]) * options.rotation,
            zoom=float(np.exp(low + u[1] * (high - low))),
            brightness=1 + float(either[2]) * options.brightness,
            contrast=1 + float(either[3]) * options.contrast,
            saturation=1 + float(either[4]) * options.saturation,
            hue=float(either[5]) * options.hue,
        )

    def cut(
        self, image: Pixels, rows: slice, columns: slice, *, classes: Sequence[bool], colours: bool
    ) -> Pixels:
        """Cut a window out of the changed image.

        Args:
            image: [C, H, W], uint8, or float32 in [-1, 1].
            rows: Of the window, around whose centre the image is turned and enlarged.
            columns: Likewise.
            classes: Of each channel whether it is a class of a label map, which stays all or none;
                empty: no channel is.
            colours: Whether to change colours, of gray or of the first three channels.

        Returns:
            [C, h, w] of the type of `image`.
        """
        if (self.turn, self.zoom) == (0.0, 1.0):
            image = image[:, rows, columns]
        else:
            image = self._resampled(image, rows, columns, classes)
        return self._recoloured(image) if colours else image

    def _resampled(
        self, image: Pixels, rows: slice, columns: slice, classes: Sequence[bool]
    ) -> Pixels:
        size = torch.tensor(image.shape[1:])
        angle = np.radians(self.turn)
        ahead, aside = np.cos(angle) / self.zoom, np.sin(angle) / self.zoom
        centre_y, centre_x = ((part.start + part.stop - 1) / 2 for part in (rows, columns))
        y = torch.arange(rows.start, rows.stop)[:, None] - centre_y
        x = torch.arange(columns.start, columns.stop)[None] - centre_x
        places = torch.stack(  # [h, w, 2], x and y in the image
            [centre_x + ahead * x - aside * y, centre_y + aside * x + ahead * y], 2
        )
        grid = (places * 2 / (size.flip(0) - 1).clamp(min=1) - 1)[None].float()
        values = torch.from_numpy(image.astype(np.float32))[None]

        def sampled(mode: str) -> npt.NDArray[np.float32]:
            found = F.grid_sample(values, grid, mode, "reflection", align_corners=True)[0]
            return found.numpy()

        result = sampled("bicubic")
        if any(classes):
            where = np.asarray(classes)
            result[where] = sampled("nearest")[where]
        return _like(result, image)

    def _recoloured(self, image: Pixels) -> Pixels:
        number = min(3, len(image))
        values = image[:number].astype(np.float32)
        black = 0 if image.dtype == np.uint8 else -1
        luminance = _YIQ[0] if number == 3 else np.ones(1)
        mean = np.tensordot(luminance, values, 1).mean() - black
        mix = (self._colour_matrix() if number == 3 else np.eye(1)) * self.contrast
        flat = (mix * self.brightness).astype(np.float32) @ (values - black).reshape(number, -1)
        flat += np.float32((1 - self.contrast) * self.brightness * mean + black)
        changed = _like(flat.reshape(values.shape), image)
        return np.concatenate([changed, image[number:]]) if len(image) > number else changed

    def _colour_matrix(self) -> npt.NDArray[np.float64]:
        """Return what turns and stretches colours [3, 3] and keeps gray and luminance."""
        angle = 2 * np.pi * self.hue
        ahead, aside = self.saturation * np.cos(angle), self.saturation * np.sin(angle)
        turned = np.array([[1, 0, 0], [0, ahead, -aside], [0, aside, ahead]])
        matrix: npt.NDArray[np.float64] = np.linalg.inv(_YIQ) @ turned @ _YIQ
        return matrix


def _like(values: npt.NDArray[np.float32], image: Pixels) -> Pixels:
    """Round and bound values to the type and range of an image."""
    if image.dtype == np.uint8:
        return (values + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    return values.clip(-1, 1)


def classes_of(inputs: Sequence[Input]) -> tuple[bool, ...]:
    """Tell of each channel of a domain's stacked inputs whether it is a class of a label map."""
    if not any(given.labels for given in inputs):
        return ()
    numbers = [given.labels or given.channels or 1 for given in inputs]
    return tuple(
        given.labels is not None
        for given, number in zip(inputs, numbers, strict=True)
        for _ in range(number)
    )


def changes_colours(options: AugmentOptions) -> bool:
    """Tell whether any colour changes."""
    return any((options.brightness, options.contrast, options.saturation, options.hue))


def require_colours(options: DataOptions, channels: Sequence[int]) -> None:
    """Refuse colour changes of images without colours.

    Args:
        options: Of the data.
        channels: Of the data set's A and B, or of the one domain.

    Raises:
        UserError: Such images are to be recoloured.
    """
    augment = options.augment
    if not changes_colours(augment):
        if augment.color_domains != "both":
            raise UserError("data.augment.color_domains: no colour is to change; leave it out")
        return
    if augment.color_domains != "both" and len(channels) == 1:
        raise UserError("data.augment.color_domains: there is one domain only; leave it out")
    inputs = (options.a, options.b)
    chosen = []
    for name, number, given in zip("AB", channels, inputs, strict=False):
        if augment.color_domains not in ("both", name):
            continue
        chosen.append(number)
        if number not in (1, 3, 4) or any(classes_of(given)):
            what = "label maps" if any(classes_of(given)) else f"{number} bands"
            raise UserError(
                f"data.augment: colours of gray, RGB and RGBA images can change, and {name} has "
                f"{what}; leave brightness, contrast, saturation and hue out, or set color_domains "
                "to the other domain"
            )
    if set(chosen) == {1} and (augment.saturation or augment.hue):
        raise UserError("data.augment: gray images have no saturation and no hue; leave them out")
