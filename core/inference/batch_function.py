"""A translator as a function of batches of arrays, for Ray Data, Spark, Daft and the like.

Such engines pickle a function to send it to their workers, and call it with columns of some rows.
This one pickles as the checkpoint's address, in about a kilobyte, and each process that calls it
loads the checkpoint once. docs/scale.md shows how each engine takes it.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.data.picture import Picture
from core.errors import UserError
from core.family import to_float
from core.options import Direction
from core.report.pictures import to_uint8

Image = npt.NDArray[np.uint8]
"""[H, W, C]."""

_loaded: dict[bytes, Translates] = {}
"""This process's translator, by the pickled way to it: engines unpickle a function for each task,
and the networks are not to be read again each time."""


class Translates(Protocol):
    """What is needed of `core.inference.translator.Translator`."""

    device: torch.device
    load_again: Callable[[], Any] | None

    def channels(self, direction: Direction) -> tuple[int, int]:
        """Return the channels in and out."""

    def __call__(self, image: Tensor, direction: Direction) -> Tensor:
        """Translate a batch."""

    def in_styles(self, image: Tensor, styles: Tensor, direction: Direction) -> list[Tensor]:
        """Translate a batch in each style."""

    def test_modes(self) -> AbstractContextManager[None]:
        """Run networks as for testing within."""

    @property
    def drops_out(self) -> bool:
        """Whether dropout is active."""


class BatchFunction:
    """A translation of the column `image` of a batch; made by `Translator.batch_function`.

    A picture's result does not depend on the others of its batch. Pictures of one size go through
    the network together; where dropout is active they go one by one, each drawing by a seed made
    of its own pixels.

    Args:
        translator: what translates.
        direction: one that it has.
        style: code [style_dim] for all pictures; None in a family without styles.
    """

    def __init__(self, translator: Translates, direction: Direction, style: Tensor | None) -> None:
        self._translator: Translates | None = translator
        self._load_again = translator.load_again
        self.direction, self.style = direction, style

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks at home."""
        if self._load_again is None:
            raise UserError("a translator that was not loaded from a checkpoint cannot be sent")
        return self.__dict__ | {"_translator": None}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch with its column `image` translated.

        Args:
            batch: {column: values of the rows}. `image` is uint8 [N, H, W, C], or a sequence or
                object array of N pictures [H, W, C] of any sizes; C is 1 (gray), 3 (RGB), 4 (RGBA,
                laid over white unless the network takes four channels), or the network's.

        Returns:
            The other columns as given. `image` is uint8 [N, H, W, channels of the network] if it
            was such an array, else an object array of N pictures.

        Raises:
            UserError: values of another kind.
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

    def translate(self, images: Sequence[Image]) -> list[Image]:
        """Translate pictures uint8 [H, W, C] of any sizes; results [H, W, channels], in order."""
        translator = self.translator
        channels = translator.channels(self.direction)[0]
        seen = [_as_seen(image, channels) for image in images]
        with translator.test_modes():
            drops_out = translator.drops_out
        results: dict[int, Image] = {}
        for places in _groups([image.shape for image in seen], one_by_one=drops_out):
            stacked = np.stack([seen[place] for place in places])
            with _seeded(stacked, translator.device) if drops_out else nullcontext():
                results.update(zip(places, self._run(stacked), strict=True))
        return [results[place] for place in range(len(seen))]

    def _run(self, images: Image) -> Image:
        """Translate uint8 [N, H, W, C]."""
        batch = to_float(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
        if self.style is None:
            result = self.translator(batch, self.direction)
        else:
            (result,) = self.translator.in_styles(batch, self.style[None], self.direction)
        pixels: Image = to_uint8(result).permute(0, 2, 3, 1).contiguous().numpy()
        return pixels


def _checked(image: Any) -> Image:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.size == 0:
        raise UserError(
            f"image: {array.dtype} {list(array.shape)}; a row is one picture, uint8 [H, W, C]"
        )
    return array


def _as_seen(image: Image, channels: int) -> Image:
    """Return what a network of so many channels sees, [H, W, channels]."""
    has_alpha = image.shape[2] == 4
    alpha = image[..., 3:] if has_alpha else None
    picture = Picture(image[..., :3] if has_alpha else image, alpha)
    return np.array(picture.channels(channels), dtype=np.uint8)


def _groups(shapes: Sequence[tuple[int, ...]], *, one_by_one: bool) -> Iterator[list[int]]:
    """Give the places of the pictures that go together: those of one shape, or each by itself."""
    if one_by_one:
        yield from ([place] for place in range(len(shapes)))
        return
    for shape in dict.fromkeys(shapes):
        yield [place for place, other in enumerate(shapes) if other == shape]


@contextmanager
def _seeded(images: Image, device: torch.device) -> Iterator[None]:
    """Draw within from a seed made of the pixels; outside, the generators go on as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(zlib.crc32(images.tobytes()))
        yield
