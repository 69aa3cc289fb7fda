"""What makes results of pictures: a checkpoint, or a method that needs no training."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from core.data.images import open_image, picture_of
from core.data.picture import Picture
from core.errors import UserError
from core.inference.styles import StyleSet, seed_of
from core.inference.translator import Translator
from core.jobs.stylize import with_alpha_of
from core.options import Direction, Span
from core.stylizer import Stylizer
from core.tiling.run import AUTO_TILE, SAFETY, available_bytes, estimate_peak_bytes

_MOST_PIXELS = 64 * 256 * 256
"""Of pictures that share a pass, at most: with more a GPU gets no faster."""

_SMALL_PIXELS = 128 * 128
"""The same on a CPU, where larger pictures are no faster together."""

Results = list[Picture] | UserError
"""What was made of a picture, or why nothing was."""


class Engine(Protocol):
    """A function of pictures, each with its name, from which alone follows what is drawn for it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What follows a picture's name for each of its results; "" where there is one."""

    @property
    def span(self) -> Span | None:
        """How inputs are read; see `core.data.images.read_picture`."""

    def key(self, picture: Picture) -> Hashable:
        """Return the same for pictures that may share a pass; None for one that goes alone."""

    def limit(self, picture: Picture) -> int:
        """Return how many pictures like this one may share a pass."""

    def run(self, names: Sequence[str], pictures: Sequence[Picture]) -> list[Results]:
        """Make the results of pictures of one key."""


class TranslatorEngine:
    """A checkpoint in one direction.

    Args:
        translator: the checkpoint.
        direction: the way all pictures go.
        styles: those that each picture gets; None: `num_styles` of its own, by its name.
        num_styles: at least 1; of families that have styles.
        seed: of what is drawn.
        batch_size: pictures that share a pass at most; None: as many as make a GPU faster and fit
            into its memory. On a CPU that is one.
    """

    def __init__(
        self,
        translator: Translator,
        direction: Direction,
        *,
        styles: StyleSet | None = None,
        num_styles: int = 1,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> None:
        self.translator, self.direction = translator, direction
        self.styles, self.num_styles, self.seed = styles, num_styles, seed
        self.batch_size = batch_size
        self._most = _MOST_PIXELS
        self._bytes_per_pixel = 0.0
        with translator.test_modes():
            self._draws = translator.drops_out

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Engine`."""
        if not self.translator.has_styles:
            return ("",)
        drawn = tuple(f"style_{i:02d}" for i in range(self.num_styles))
        names = self.styles.names if self.styles else drawn
        return tuple(f"_{name}" for name in names) if len(names) > 1 else ("",)

    @property
    def span(self) -> Span | None:
        """See `Engine`."""
        return self.translator.spans(self.direction)[0]

    def key(self, picture: Picture) -> Hashable:
        """See `Engine`."""
        return None if self._draws else (self.translator.legal_size(picture), picture.levels.deep)

    def limit(self, picture: Picture) -> int:
        """See `Engine`."""
        if self.batch_size is not None:
            return self.batch_size
        height, width = self.translator.legal_size(picture)
        if self.translator.device.type == "cpu":
            return max(1, _SMALL_PIXELS // (height * width))
        if max(height, width) > AUTO_TILE:
            return 1
        if not self._bytes_per_pixel:
            self._bytes_per_pixel = self._peak_bytes(height, width) / (height * width)
        room = available_bytes(self.translator.device) / 2 / self._bytes_per_pixel
        return max(1, int(min(room, self._most)) // (height * width))

    def _peak_bytes(self, height: int, width: int) -> float:
        """Return the memory that one image of a legal size is likely to need."""
        translator = self.translator
        shape = (1, translator.channels(self.direction)[0], height, width)
        work = partial(translator.family.translate, direction=self.direction)
        with translator.test_modes():
            return estimate_peak_bytes(work, shape, translator.device) * SAFETY

    def run(self, names: Sequence[str], pictures: Sequence[Picture]) -> list[Results]:
        """See `Engine`."""
        try:
            return self._run(names, pictures)
        except torch.OutOfMemoryError:
            if len(pictures) == 1:
                raise
        # The limit was too high, or somebody else has taken the memory.
        half = len(pictures) // 2
        height, width = self.translator.legal_size(pictures[0])
        self._most = min(self._most, half * height * width)
        return [*self.run(names[:half], pictures[:half]), *self.run(names[half:], pictures[half:])]

    def _run(self, names: Sequence[str], pictures: Sequence[Picture]) -> list[Results]:
        if self._draws:
            torch.manual_seed(seed_of(names[0], self.seed))
        try:
            codes = self._codes(names) if self.translator.has_styles else None
            made = self.translator.pictures(pictures, self.direction, codes)
        except UserError as error:
            if len(pictures) == 1:
                return [error]
            pairs = zip(names, pictures, strict=True)
            return [self._run([name], [picture])[0] for name, picture in pairs]
        return [_whole(results) for results in made]

    def _codes(self, names: Sequence[str]) -> Tensor:
        """Return codes [N, K, style_dim]."""
        if self.styles is not None:
            return self.styles.codes.expand(len(names), -1, -1)
        seeds = [seed_of(name, self.seed) for name in names]
        drawn = [self.translator.random_styles(self.num_styles, seed) for seed in seeds]
        return torch.stack(drawn)


class StylizerEngine:
    """A method without training, with styles that all pictures get."""

    labels = ("",)
    span: Span | None = None

    def __init__(self, stylizer: Stylizer, styles: Sequence[Path]) -> None:
        self.stylizer = stylizer
        self.styles = [open_image(path) for path in styles]

    def key(self, picture: Picture) -> Hashable:
        """See `Engine`: each goes alone."""
        return None

    def limit(self, picture: Picture) -> int:
        """See `Engine`."""
        return 1

    def run(self, names: Sequence[str], pictures: Sequence[Picture]) -> list[Results]:
        """See `Engine`."""
        (picture,) = pictures
        try:
            content = picture.to_pil()
            result = self.stylizer.stylize(content, self.styles)
        except UserError as error:
            return [UserError(f"{picture.name}: {error}")]
        return [[picture_of(with_alpha_of(content, result), name=picture.name)]]


def _whole(results: Sequence[Picture | UserError]) -> Results:
    """Return all results of a picture, or the first error among them."""
    for result in results:
        if isinstance(result, UserError):
            return result
    return [result for result in results if isinstance(result, Picture)]
