"""Domains named by addresses (`data.a`, `data.b`): one storage each, or several stacked by name.

A stack is one image whose channels are those of its inputs, one after the other: `[rgb/, depth/]`
has four. A label map has a channel for each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL

from core.data.addresses import has_part, open_address
from core.data.folders import held_out
from core.data.images import picture_of_stored
from core.data.label_maps import one_hot
from core.data.picture import EIGHT_BITS, SIXTEEN_BITS, Levels, Picture, Pixels
from core.data.readers.interface import Pictures
from core.data.readers.tables import StreamPictures
from core.data.transforms import resize, resize_ids
from core.errors import UserError
from core.family import Layout
from core.options import DataOptions, Input, RunConfig, Span

C = TypeVar("C", bound=RunConfig)


@dataclass(frozen=True)
class Side:
    """The images of one domain.

    Attributes:
        inputs: What each is called, and how it is read; channels are known.
        pictures: The pictures of each.
        items: Of each image its pictures' numbers.
        span: Black and white of inputs that do not say their own.
    """

    inputs: tuple[Input, ...]
    pictures: tuple[Pictures, ...]
    items: tuple[tuple[int, ...], ...]
    span: Span | None = None

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return sum(_channels(given) for given in self.inputs)

    def key(self, item: int) -> str:
        """Name that partners in other domains have too."""
        return self.pictures[0].key(self.items[item][0])

    def name(self, item: int) -> str:
        """Name of an image: that of its first picture."""
        return self.pictures[0].name(self.items[item][0])

    def read(self, item: int, options: DataOptions | None) -> Picture:
        """Decode an image, resized by `options` if these are given.

        Raises:
            UserError: A picture cannot be read, has other channels, or another size than the first.
        """
        planes: list[Pixels] = []
        levels = EIGHT_BITS
        for given, pictures, number in zip(
            self.inputs, self.pictures, self.items[item], strict=True
        ):
            name = pictures.name(number)
            if given.labels:
                ids = pictures.ids(number)
                ids = ids if options is None else resize_ids(ids, options)
                pixels = one_hot(ids, given.labels, name)
            else:
                stored = pictures.stored(number)
                picture = picture_of_stored(stored, given.span or self.span, name)
                pixels = picture.channels(_channels(given))
                pixels = pixels if options is None else resize(pixels, options)
                levels = picture.levels if picture.levels.deep else levels
            if planes and pixels.shape[:2] != planes[0].shape[:2]:
                raise UserError(
                    f"{name}: {pixels.shape[1]} x {pixels.shape[0]} px, but {self.name(item)} has "
                    f"{planes[0].shape[1]} x {planes[0].shape[0]}; inputs are stacked at one size"
                )
            planes.append(pixels)
        return Picture(*_stacked(planes, levels), mode="", name=self.name(item))


def _stacked(planes: list[Pixels], levels: Levels) -> tuple[Pixels, None, Levels]:
    """Join channels: 8 bits where all have 8, floats otherwise."""
    if len(planes) == 1:
        return planes[0], None, levels
    if levels.deep:
        planes = [x / np.float32(255) if x.dtype == np.uint8 else x for x in planes]
        levels = SIXTEEN_BITS  # no file has such a stack; results are not stored like it
    return np.concatenate(planes, axis=2), None, levels


@dataclass(frozen=True)
class Sides:
    """The images of one domain, or of two that show the same; see `core.data.readers.interface`.

    Attributes:
        label: Name of the part, such as "trainA".
        sides: The domains.
        options: Rule of the resize.
    """

    label: str
    sides: tuple[Side, ...]
    options: DataOptions

    def __len__(self) -> int:
        """Number of items."""
        return len(self.sides[0].items)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of an item's images."""
        return tuple(side.channels for side in self.sides)

    @property
    def root(self) -> Path:
        """The data set's folder, where it is on this machine."""
        return Path(self.options.root).expanduser()

    def name(self, item: int, image: int) -> str:
        """See `Images.name`."""
        return self.sides[image].name(item)

    def read(self, item: int) -> tuple[Pixels, ...]:
        """See `Images.read`."""
        images = []
        for side in self.sides:
            pixels = side.read(item, self.options).pixels.transpose(2, 0, 1)
            deep = pixels.dtype != np.uint8
            images.append(pixels * np.float32(2) - np.float32(1) if deep else pixels)
        return tuple(images)

    def rule(self) -> dict[str, Any]:
        """See `InFiles.rule`."""
        options = self.options.model_dump(include={"preprocess", "load_size", "crop_size"})
        sides = [[given.model_dump() for given in side.inputs] for side in self.sides]
        items = [side.items for side in self.sides]
        spans = [side.span for side in self.sides]
        return {
            "pillow": PIL.__version__,
            "sides": sides,
            "items": items,
            "spans": spans,
            **options,
        }

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `InFiles.stamps`."""
        return [mark for side in self.sides for one in side.pictures for mark in one.stamps()]


def open_inputs(
    options: DataOptions, layout: Layout, split: str, channels: Sequence[int]
) -> list[Sides]:
    """Open the images of a split: [pairs], [A, B], or [the one domain].

    Args:
        options: With `a`, and with `b` but for a single domain.
        layout: What they are to each other.
        split: "val" and "test" stand in for each other, and what is not divided serves every split,
            but for `val_fraction`.
        channels: Of the data set's A and B.

    Raises:
        UserError: Pictures or a split are missing, pictures without partner, or of other channels
            than wanted.
    """
    given = [side for side in (options.a, options.b) if side]
    part = _part_of(options, split)
    opened = [
        [open_address(options.root, one.path, part, options.max_images) for one in inputs]
        for inputs in given
    ]
    if split == "train" and not options.serial:
        _require_any_order([pictures for side in opened for pictures in side])
    items = [_partners(pictures) for pictures in opened]
    if layout == "paired":
        together = _partners([pictures for side in opened for pictures in side])
        first = len(opened[0])
        items = [[row[:first] for row in together], [row[first:] for row in together]]
    sides = [
        Side(_with_channels(inputs, wanted, name), tuple(pictures), tuple(own), span)
        for inputs, wanted, name, pictures, own, span in zip(
            given, channels, "ab", opened, items, options.spans, strict=False
        )
    ]
    return _divided(options, layout, split, sides)


def has_test(options: DataOptions) -> bool:
    """Tell whether there are pictures for testing: of their own, or those that serve all splits."""
    parts = {split: _is_there(options, split) for split in ("train", "test")}
    return parts["test"] or not parts["train"]


def _is_there(options: DataOptions, split: str) -> bool:
    return any(has_part(options.root, one.path, split) for one in (*options.a, *options.b))


def _part_of(options: DataOptions, split: str) -> str:
    """Return the split that is opened: "train" where a share of it stands for another.

    Raises:
        UserError: There is nothing for this split.
    """
    if split == "train" or has_test(options):
        return split
    if not options.val_fraction:
        raise UserError(
            f"{options.a[0].path}: there are training pictures and none for testing; add them, or "
            "set data.val_fraction"
        )
    return "train"


def _require_any_order(every: Sequence[Pictures]) -> None:
    for pictures in every:
        if isinstance(pictures, StreamPictures):
            raise UserError(
                f"{pictures.source}: a stream has no order but its own; set data.serial: true, or "
                "save the data set to disk"
            )


def _divided(options: DataOptions, layout: Layout, split: str, sides: list[Side]) -> list[Sides]:
    """Cut the share of `val_fraction` and what is beyond `max_images` off."""
    there = any(has_part(options.root, one.path, "test") for side in sides for one in side.inputs)
    share = 0.0 if there else options.val_fraction
    groups = [sides] if layout == "paired" else [[side] for side in sides]
    result = []
    for domain, group in zip("AB", groups, strict=False):
        chosen = list(range(len(group[0].items)))
        if share:
            keys = [Path(group[0].key(i)) for i in chosen]
            kept = held_out(keys, share)
            chosen = [i for i in chosen if (keys[i] in kept) != (split == "train")]
        chosen = chosen[: options.max_images]
        cut = tuple(replace(side, items=tuple(side.items[i] for i in chosen)) for side in group)
        result.append(Sides(split + ("" if layout == "paired" else domain), cut, options))
    return result


def _partners(every: Sequence[Pictures]) -> list[tuple[int, ...]]:
    """Find what stands together by name, in the order of the first."""
    tables = [_by_key(pictures) for pictures in every]
    lonely = [
        f"{key} only in {every[i].name(number)}"
        for i, table in enumerate(tables)
        for key, number in table.items()
        if any(key not in other for other in tables)
    ]
    if lonely:
        raise UserError(
            f"{len(lonely)} pictures have no partner of equal name in every input "
            f"({', '.join(lonely[:3])}); rename or remove them"
        )
    return [tuple(table[key] for table in tables) for key in tables[0]]


def _by_key(pictures: Pictures) -> dict[str, int]:
    found: dict[str, int] = {}
    for number in range(len(pictures)):
        key = pictures.key(number)
        if key in found:
            raise UserError(
                f"{pictures.name(found[key])} and {pictures.name(number)}: both are called {key}, "
                "so the partner is ambiguous; rename one"
            )
        found[key] = number
    return found


# -- channels ---------------------------------------------------------------------------------


def _channels(given: Input) -> int:
    number = given.labels or given.channels
    assert number is not None, "with_inputs completes them"
    return number


def _with_channels(inputs: Sequence[Input], wanted: int, name: str) -> tuple[Input, ...]:
    """Give a single input the channels that the model wants; check those of others."""
    if len(inputs) == 1 and not inputs[0].labels:
        return (inputs[0].model_copy(update={"channels": wanted}),)
    missing = [one.path for one in inputs if not (one.labels or one.channels)]
    if missing:
        raise UserError(f"data.{name}: {missing[0]}: say how many channels it has (`channels: 3`)")
    total = sum(map(_channels, inputs))
    if total != wanted:
        parts = " + ".join(f"{_channels(one)} of {one.path}" for one in inputs)
        raise UserError(
            f"data.{name}: has {total} channels ({parts}), and the model takes {wanted}; set its "
            "number of channels"
        )
    return tuple(inputs)


def with_inputs(config: C) -> C:
    """Return options that know the channels of every input, and a model with as many.

    Channels of an input in a stack are those of its first training picture. Numbers of channels
    that a config states count; those it does not state follow.

    Raises:
        UserError: Pictures are missing, or a stated number is another.
    """
    data: DataOptions = config.data
    if not data.a:
        return config
    changed = {}
    for name in ("a", "b"):
        inputs = getattr(data, name)
        if inputs and (len(inputs) > 1 or inputs[0].labels):
            changed[name] = tuple(_measured(one, data) for one in inputs)
    config = config.model_copy(update={"data": data.model_copy(update=changed)})
    numbers = {name: sum(map(_channels, inputs)) for name, inputs in changed.items()}
    return _with_model(config, numbers)


def _measured(given: Input, data: DataOptions) -> Input:
    if given.labels or given.channels:
        return given
    pictures = open_address(data.root, given.path, "train", data.max_images)
    return given.model_copy(update={"channels": pictures.stored(0).values.shape[2]})


def _with_model(config: C, numbers: dict[str, int]) -> C:
    """Set the model's channels to those of the inputs, unless the config states them."""
    model: Any = config.model  # type: ignore[attr-defined]
    fields = next(x for x in _FIELDS if set(x) <= set(type(model).model_fields))
    if config.data.direction == "BtoA":
        fields = fields[::-1]
    changed = {}
    for name, field in zip("ab", fields, strict=False):
        number, stated = numbers.get(name), getattr(model, field)
        if number is None or number == stated:
            continue
        if field in model.model_fields_set:
            raise UserError(
                f"model.{field}: {stated}, but data.{name} has {number} channels; leave it out, "
                "and it follows"
            )
        changed[field] = number
    return config.model_copy(update={"model": model.model_copy(update=changed)})


_FIELDS = (("input_nc", "output_nc"), ("input_dim_a", "input_dim_b"), ("nc",))
"""What families call the channels of A and of B, or of the one domain."""
