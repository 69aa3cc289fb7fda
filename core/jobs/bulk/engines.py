"""What makes results of pictures: a checkpoint, or a method that needs no training."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
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
        batch_size: pictures that share a pass at most.
    """

    def __init__(
        self,
        translator: Translator,
        direction: Direction,
        *,
        styles: StyleSet | None = None,
        num_styles: int = 1,
        seed: int = 0,
        batch_size: int = 1,
    ) -> None:
        self.translator, self.direction = translator, direction
        self.styles, self.num_styles, self.seed = styles, num_styles, seed
        self.batch_size = batch_size
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
        return self.batch_size

    def run(self, names: Sequence[str], pictures: Sequence[Picture]) -> list[Results]:
        """See `Engine`."""
        if self._draws:
            torch.manual_seed(seed_of(names[0], self.seed))
        try:
            codes = self._codes(names) if self.translator.has_styles else None
            made = self.translator.pictures(pictures, self.direction, codes)
        except UserError as error:
            if len(pictures) == 1:
                return [error]
            pairs = zip(names, pictures, strict=True)
            return [self.run([name], [picture])[0] for name, picture in pairs]
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
