"""One batch of images by its number: read, crop, mirror, and lay into one buffer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.data.augment import Augmentation, changes_colours, classes_of
from core.data.picture import Pixels
from core.data.readers.interface import Images
from core.data.sampler import AUGMENT_STREAMS, EpochSampler, Sample
from core.data.transforms import CropFlip, Cut, crop_side, sliced
from core.errors import UserError
from core.family import Batch, ImageBatch, Place, SampleBatch
from core.options import AugmentOptions, DataOptions

Read = tuple[Pixels, ...]
"""What `Images.read` gives: the one image of an item, or both of a pair."""


class Delivery(NamedTuple):
    """A batch as a loader process hands it over.

    A `UserError` travels as text: raised in a worker it would arrive wrapped in a stack trace.

    Attributes:
        batch: The batch; None if there is an error.
        error: Message of a `UserError`.
        skipped: Why files were passed over (`on_error: skip`).
    """

    batch: Batch | None
    error: str | None
    skipped: tuple[str, ...]


class Picked(NamedTuple):
    """An image ready to be copied into a batch: a [C, H, W] view and its file's name."""

    image: Pixels
    name: str


@dataclass(frozen=True)
class BatchReader(Dataset[Delivery], ABC):
    """Makes batch `number`, the same one in whichever process.

    Attributes:
        sampler: Which items a batch has.
        options: Crop, flip, order of B, direction, unreadable files.
        augment: Crop at random, mirror and change; otherwise crop from the centre.
    """

    sampler: EpochSampler
    options: DataOptions
    augment: bool

    @property
    @abstractmethod
    def num_items(self) -> list[int]:
        """Images of each domain."""

    @abstractmethod
    def _make(self, samples: list[Sample], place: Place, skipped: list[str]) -> Batch:
        """Make the batch of these samples at its place; `skipped` receives what was passed over."""

    def __getitem__(self, number: int) -> Delivery:
        """Make batch `number`, counted from 0 over all epochs; errors are inside."""
        skipped: list[str] = []
        try:
            total = self.sampler.batches_per_epoch
            place = Place(number % total, total)
            batch = self._make(self.sampler.batch(number), place, skipped)
        except UserError as error:
            return Delivery(None, str(error), tuple(skipped))
        return Delivery(batch, None, tuple(skipped))

    def _read(self, images: Images, item: int, skipped: list[str]) -> tuple[int, Read]:
        return read_item(images, item, skipped, on_error=self.options.on_error)

    def _crop_flip(self, rng: np.random.Generator, image: Pixels) -> CropFlip:
        _, height, width = image.shape
        side = crop_side(self.options)
        centred = CropFlip.centred(height, width, side)
        if not self.augment:
            return centred
        drawn = CropFlip.draw(rng, height, width, side, flip=self.options.flip)
        if self.options.preprocess == "scale_and_center_crop":
            return replace(centred, flip=drawn.flip)
        return drawn

    def _cut(self, sample: Sample, domain: int, drawn_for: int) -> Cut:
        """Return what takes a window out of an image of the data set's A (0) or B (1).

        What else changes in it is drawn for the image of domain `drawn_for`.
        """
        options = self.options.augment
        if not self.augment or options == AugmentOptions():
            return sliced
        change = Augmentation.draw(sample.generator(AUGMENT_STREAMS[drawn_for]), options)
        classes = classes_of((self.options.a, self.options.b)[domain])
        colours = changes_colours(options) and options.color_domains in ("both", "AB"[domain])
        return partial(change.cut, classes=classes, colours=colours)


@dataclass(frozen=True)
class DomainsReader(BatchReader):
    """Batches of two domains.

    Attributes:
        images: Of A and of B where they are unpaired, or the pairs of both.
    """

    images: Sequence[Images]

    @property
    def num_items(self) -> list[int]:
        """Images of A and of B."""
        return [len(self.images[0]), len(self.images[-1])]

    def _make(self, samples: list[Sample], place: Place, skipped: list[str]) -> ImageBatch:
        read = self._read_pair if len(self.images) == 1 else self._read_unpaired
        return self._batch([read(sample, skipped) for sample in samples], place)

    def _read_unpaired(self, sample: Sample, skipped: list[str]) -> tuple[Picked, Picked]:
        rng = sample.generator()
        num_b = len(self.images[1])
        # Drawn even where it is not used: the crops stay the same in either order of B.
        random_b = int(rng.integers(num_b))
        in_order = self.options.serial or not self.sampler.shuffle
        item_b = sample.item % num_b if in_order else random_b
        picked = []
        for domain, item in enumerate((sample.item, item_b)):
            images = self.images[domain]
            found, (image,) = self._read(images, item % len(images), skipped)
            cut = self._cut(sample, domain, drawn_for=domain)
            pixels = self._crop_flip(rng, image).apply(image, cut)
            picked.append(Picked(pixels, images.name(found, 0)))
        return picked[0], picked[1]

    def _read_pair(self, sample: Sample, skipped: list[str]) -> tuple[Picked, Picked]:
        (images,) = self.images
        found, (image_a, image_b) = self._read(images, sample.item, skipped)
        # Drawn for A and applied to both, as the official code does.
        crop_flip = self._crop_flip(sample.generator(), image_a)
        a, b = (
            Picked(
                crop_flip.apply(image, self._cut(sample, side, drawn_for=0)),
                images.name(found, side),
            )
            for side, image in enumerate((image_a, image_b))
        )
        if a.image.shape[1:] != b.image.shape[1:]:
            raise UserError(
                f"{a.name} and {b.name}: the images of a pair have different sizes, "
                f"{_size(a.image)} and {_size(b.image)} pixels, after "
                f"data.preprocess: {self.options.preprocess}; make them equal "
                "or use resize_and_crop"
            )
        return a, b

    def _batch(self, pairs: list[tuple[Picked, Picked]], place: Place) -> ImageBatch:
        picked_a, picked_b = zip(*pairs, strict=True)
        a, b = (stack(picked, self.options) for picked in (picked_a, picked_b))
        names_a, names_b = (tuple(one.name for one in picked) for picked in (picked_a, picked_b))
        batch = ImageBatch(a, b, names_a, names_b, place)
        return batch.swapped() if self.options.direction == "BtoA" else batch


@dataclass(frozen=True)
class SampleReader(BatchReader):
    """Batches of one domain.

    Attributes:
        captions: One for each image, or none at all.
    """

    images: Images
    captions: tuple[str, ...]

    @property
    def num_items(self) -> list[int]:
        """Images of the one domain."""
        return [len(self.images)]

    def _make(self, samples: list[Sample], place: Place, skipped: list[str]) -> SampleBatch:
        picked, captions = [], []
        for sample in samples:
            item, (image,) = self._read(self.images, sample.item, skipped)
            crop_flip = self._crop_flip(sample.generator(), image)
            pixels = crop_flip.apply(image, self._cut(sample, 0, drawn_for=0))
            picked.append(Picked(pixels, self.images.name(item, 0)))
            captions.append(self.captions[item] if self.captions else "")
        names = tuple(one.name for one in picked)
        return SampleBatch(stack(tuple(picked), self.options), names, tuple(captions), place)


def read_item(
    images: Images, item: int, skipped: list[str], *, on_error: Literal["refuse", "skip"]
) -> tuple[int, Read]:
    """Read an item, or with `on_error` "skip" the next readable one; return its number too.

    `skipped` receives a message for each unreadable item that is passed over.

    Raises:
        UserError: The item, or with "skip" every item, is unreadable.
    """
    if on_error == "refuse":
        return item, images.read(item)
    for step in range(len(images)):
        candidate = (item + step) % len(images)
        try:
            return candidate, images.read(candidate)
        except UserError as error:
            skipped.append(str(error))
    raise UserError(f"none of the {len(images)} images can be read; {skipped[0]}")


def stack(picked: tuple[Picked, ...], options: DataOptions) -> Tensor:
    """Copy images into one new [N, C, H, W] tensor, each value once.

    Returns:
        uint8; float32 in [-1, 1] if one of them has more than 8 bits.

    Raises:
        UserError: The images have different sizes.
    """
    first = picked[0]
    for other in picked:
        if other.image.shape != first.image.shape:
            raise UserError(
                f"{first.name} is {_size(first.image)} pixels and {other.name} "
                f"{_size(other.image)} after data.preprocess: {options.preprocess}, but the images "
                "of a batch must be of one size; use resize_and_crop or train.batch_size: 1"
            )
    deep = any(one.image.dtype != np.uint8 for one in picked)
    dtype = torch.float32 if deep else torch.uint8
    batch = torch.empty((len(picked), *first.image.shape), dtype=dtype)
    for row, one in zip(batch.numpy(), picked, strict=True):
        is_shallow = deep and one.image.dtype == np.uint8
        row[...] = one.image / np.float32(127.5) - np.float32(1) if is_shallow else one.image
    return batch


def _size(image: Pixels) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"
