"""A translator as a function of batches of arrays, for Ray Data, Spark, Daft and the like.

Such engines pickle a function to send it to their workers, and call it with columns of some rows.
This one pickles as the checkpoint's address, in about a kilobyte, and each process that calls it
loads the checkpoint once. docs/scale.md shows how each engine takes it.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.data.picture import Picture
from core.errors import UserError
from core.options import Direction

Image = npt.NDArray[np.uint8]
"""[H, W, C]."""

_loaded: dict[bytes, Translates] = {}
"""This process's translator, by the pickled way to it: engines unpickle a function for each task,
and the networks are not to be read again each time."""


class Translates(Protocol):
    """What is needed of `core.inference.translator.Translator`."""

    device: torch.device
    load_again: Callable[[], Any] | None

    @property
    def has_styles(self) -> bool:
        """Whether one image has many translations."""

    @property
    def drops_out(self) -> bool:
        """Whether dropout is active."""

    def check_direction(self, direction: Direction | None) -> Direction:
        """Return the direction itself, or the first there is."""

    def require_styles(self, asked: str = "") -> object:
        """Refuse a family without styles."""

    def random_styles(self, num: int, seed: int) -> Tensor:
        """Draw codes [num, style_dim]."""

    def test_modes(self) -> AbstractContextManager[None]:
        """Run networks as for testing within."""

    def legal_size(self, picture: Picture) -> tuple[int, int]:
        """Return the size to which a picture is padded."""

    def pictures(
        self, pictures: Sequence[Picture], direction: Direction, styles: Tensor | None = None
    ) -> list[list[Picture | UserError]]:
        """Translate pictures of one legal size in one pass."""


class BatchFunction:
    """A translation of the column `image` of a batch; made by `Translator.batch_function`.

    A picture's result does not depend on the others of its batch: those of one size share a pass,
    but where dropout is active each goes alone, drawn by a seed made of its own pixels.

    Args:
        translator: what translates.
        direction: by default the first there is.
        style: one code [style_dim] for all pictures; by default the first that seed 0 draws.

    Raises:
        UserError: no generator for the direction, or a style for a family without any.
    """

    def __init__(
        self, translator: Translates, direction: Direction | None, style: Tensor | None
    ) -> None:
        self.direction = translator.check_direction(direction)
        if style is not None:
            translator.require_styles("style: ")
        elif translator.has_styles:
            style = translator.random_styles(1, seed=0)[0]
        self.style = style
        self._translator: Translates | None = translator
        self._load_again = translator.load_again

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks at home."""
        if self._load_again is None:
            raise UserError("a translator that was not loaded from a checkpoint cannot be sent")
        return self.__dict__ | {"_translator": None}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch with its column `image` translated.

        Args:
            batch: {column: values of the rows}. `image` is uint8 [N, H, W, C], or a sequence or
                object array of N pictures [H, W, C] of any sizes; C is 1 (gray), 3 (RGB), 4 (RGBA)
                or the number of the network's bands.

        Returns:
            The other columns as given. `image` is uint8 [N, H, W, C] if it was such an array, else
            an object array of N pictures; as everywhere, transparency comes back.

        Raises:
            UserError: values of another kind, or NaN in a result.
        """
        given = batch["image"]
        translated = self.translate([_checked(image) for image in given])
        if isinstance(given, np.ndarray) and given.dtype != object and translated:
            return {**batch, "image": np.stack(translated)}
        return {**batch, "image": np.fromiter(translated, dtype=object, count=len(translated))}

    @property
    def translator(self) -> Translates:
        """The translator, loaded if this process has not yet."""
        if self._translator is None:
            assert self._load_again is not None
            key = pickle.dumps(self._load_again)
            if key not in _loaded:
                _loaded.clear()  # one checkpoint in memory at a time
                _loaded[key] = self._load_again()
            self._translator = _loaded[key]
        return self._translator

    def translate(self, images: Sequence[Image], seed: int | None = None) -> list[Image]:
        """Translate pictures uint8 [H, W, C] of any sizes, and return them in their order.

        Dropout draws by `seed`, the same for all; None draws by each picture's own pixels.

        Raises:
            UserError: NaN in a result.
        """
        pictures = [_as_picture(image) for image in images]
        results: dict[int, Image] = {}
        for places in self._passes(pictures):
            made = self._run([pictures[i] for i in places], seed)
            results.update(zip(places, made, strict=True))
        return [results[place] for place in range(len(images))]

    def _passes(self, pictures: Sequence[Picture]) -> Iterable[list[int]]:
        """Return the places of the pictures that share a pass."""
        with self.translator.test_modes():
            if self.translator.drops_out:
                return [[place] for place in range(len(pictures))]
        groups: dict[tuple[int, int], list[int]] = {}
        for place, picture in enumerate(pictures):
            groups.setdefault(self.translator.legal_size(picture), []).append(place)
        return groups.values()

    def _run(self, pictures: Sequence[Picture], seed: int | None) -> list[Image]:
        codes = None if self.style is None else self.style.expand(len(pictures), 1, -1)
        device = self.translator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(zlib.crc32(pictures[0].pixels.tobytes()) if seed is None else seed)
            made = self.translator.pictures(pictures, self.direction, codes)
        results: list[Image] = []
        for (result,) in made:
            if isinstance(result, UserError):
                raise result
            results.append(result.stored())
        return results


def _checked(image: Any) -> Image:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.size == 0:
        raise UserError(
            f"image: {array.dtype} {list(array.shape)}; a row is one picture, uint8 [H, W, C]"
        )
    return array


def _as_picture(image: Image) -> Picture:
    has_alpha = image.shape[2] == 4
    return Picture(image[..., :3], image[..., 3:]) if has_alpha else Picture(image)
