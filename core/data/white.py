"""`data.white: auto`: black and white of images with more than 8 bits, measured once for a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from core.data.addresses import open_address
from core.data.folders import find_paired, find_unpaired
from core.data.images import Description, describe, describe_image
from core.data.parallel import in_threads
from core.data.readers.interface import OpensImages, Pictures
from core.data.single import find_domain
from core.errors import UserError
from core.family import Layout
from core.options import DataOptions, Input, RunConfig, Span

C = TypeVar("C", bound=RunConfig)


def with_white(config: C, layout: Layout, earlier: Any = None) -> C:
    """Return options in which `data.white: auto` has become black and white of each domain.

    They are the smallest and the largest value of the training images of more than 8 bits; None for
    a domain that has none. A resumed run keeps those of its checkpoint.

    Args:
        config: the options of a run.
        layout: of its family's data.
        earlier: the options that a checkpoint holds, if the run is resumed.

    Raises:
        UserError: the images are missing or, unless `data.on_error` is "skip", unreadable.
    """
    data: DataOptions = config.data
    if data.white != "auto":
        return config
    if data.a:
        before = (earlier or {}).get("data", {})
        sides = {name: _with_spans(data, name, before.get(name) or ()) for name in ("a", "b")}
        own = data.model_copy(update={"white": None, **sides})
        return config.model_copy(update={"data": own})
    kept = (earlier or {}).get("data", {}).get("white")
    white = _measured(data, layout) if kept in (None, "auto") else kept
    changed = type(data).model_validate(data.model_dump() | {"white": white})
    return config.model_copy(update={"data": changed})


def _measured(data: DataOptions, layout: Layout) -> tuple[Span | None, ...]:
    if isinstance(data, OpensImages):
        raise UserError("data.white: auto measures image files; give the value that is white")
    if layout == "single":
        tags = getattr(data, "tags", None)
        found = find_domain(data.root, "train", tags, data.val_fraction)
        return (None,) if found.idx else (_span(found.files, data),)
    find = find_paired if layout == "paired" else find_unpaired
    domains = find(data.root, "train", None, data.val_fraction)
    if domains.side_by_side:
        return (_span(domains.a, data),) * 2
    return _span(domains.a, data), _span(domains.b, data)


def _with_spans(data: DataOptions, name: str, before: Sequence[Any]) -> tuple[Input, ...]:
    """Give the inputs of a side that are neither label maps nor have a white of their own theirs.

    It is what a checkpoint has for them, or measured.
    """
    result = []
    for place, given in enumerate(getattr(data, name)):
        kept = before[place]["white"] if place < len(before) else None
        if given.labels or given.white is not None:
            kept = given.white
        elif kept is None:
            pictures = open_address(data.root, given.path, "train", data.max_images)
            kept = _span_of(partial(_described, pictures), len(pictures), data)
        result.append(Input.model_validate(given.model_dump() | {"white": kept}))
    return tuple(result)


def _described(pictures: Pictures, item: int) -> Description:
    return describe(pictures.stored(item))


def _span(files: Sequence[Path], data: DataOptions) -> Span | None:
    return _span_of(lambda i: describe_image(files[i]), len(files), data)


def _span_of(
    described: Callable[[int], Description], number: int, data: DataOptions
) -> Span | None:
    lows, highs = [], []
    found = in_threads(described, number, "measuring white")
    with contextlib.closing(found) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, UserError):
                if data.on_error == "refuse":
                    raise outcome
            elif outcome.deep:
                lows.append(outcome.span[0])
                highs.append(outcome.span[1])
    if not lows:
        return None
    low, high = min(lows), max(highs)
    if low == high:
        raise UserError(f"data.white: auto, but all values are {low:g}; give the one that is white")
    return low, high
