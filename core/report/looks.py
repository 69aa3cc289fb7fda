"""How a person sees images: bands chosen, label maps in colours, stacks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.data.label_maps import NO_CLASS, palette
from core.options import DataOptions, Input
from core.report.pictures import MODES, shown


@dataclass(frozen=True)
class Look:
    """How images [..., C, H, W], uint8 or float in [-1, 1], are seen.

    Attributes:
        inputs: What their channels are, one after the other; empty for one picture.
        bands: Of a picture that is neither gray nor in colours, those that are seen.
    """

    inputs: tuple[Input, ...] = ()
    bands: Sequence[int] | None = None

    @classmethod
    def of(cls, data: DataOptions, domain: Literal["A", "B"], bands: Sequence[int] | None) -> Look:
        """Return the look of the data set's domain."""
        return cls(data.a if domain == "A" else data.b, bands)

    @property
    def classes(self) -> int | None:
        """Number of classes where the images are label maps and nothing else."""
        return self.inputs[0].labels if len(self.inputs) == 1 else None

    def first(self, images: Tensor) -> Tensor:
        """Return the picture, or the first of a stack, gray or in colours."""
        return self._parts(images)[0]

    def row(self, images: Tensor) -> Tensor:
        """Return the picture, or all those of a stack side by side."""
        parts = self._parts(images)
        if len(parts) == 1:
            return parts[0]
        return torch.cat([_in_colours(part) for part in parts], dim=-1)

    def _parts(self, images: Tensor) -> list[Tensor]:
        sizes = [given.labels or given.channels or images.shape[-3] for given in self.inputs]
        if sum(sizes) != images.shape[-3]:  # one picture, or images of another domain
            return [shown(images, self.bands)]
        return [
            coloured(part) if given.labels else shown(part, self.bands if len(sizes) == 1 else None)
            for part, given in zip(images.split(sizes, dim=-3), self.inputs, strict=True)
        ]


def class_numbers(scores: Tensor) -> Tensor:
    """Return the class of each pixel, [..., H, W] from [..., C, H, W]; `NO_CLASS` if all are black.

    Of a label map with a channel for each class, true or as a network makes it.
    """
    top, numbers = scores.max(dim=-3)
    black = 0 if scores.dtype == torch.uint8 else -1
    return torch.where(top > black, numbers, NO_CLASS)


def coloured(scores: Tensor) -> Tensor:
    """Paint the class of each pixel: [..., 3, H, W] from [..., C, H, W], of the same type."""
    numbers, classes = class_numbers(scores), scores.shape[-3]
    table = torch.zeros(max(classes, NO_CLASS) + 1, 3, dtype=torch.uint8)
    table[:classes] = torch.from_numpy(palette(classes))
    colours = table.to(scores.device)[numbers].movedim(-1, -3)
    return colours if scores.dtype == torch.uint8 else (colours / 127.5 - 1).to(scores.dtype)


def _in_colours(images: Tensor) -> Tensor:
    if images.shape[-3] == 1:
        return images.expand(*images.shape[:-3], 3, -1, -1)
    assert images.shape[-3] in MODES
    return images[..., :3, :, :]
