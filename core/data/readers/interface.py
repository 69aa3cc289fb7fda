"""What every reader offers, whatever storage its images lie in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.data.picture import Pixels


class Images(Protocol):
    """Numbered items of one image (unpaired) or two (a pair)."""

    def __len__(self) -> int:
        """Number of items."""

    def name(self, item: int, image: int) -> str:
        """Name of an item's image, such as its file relative to the data set's folder."""

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Return an item's resized images [C, H, W]; not to be written to.

        uint8 where the storage has 8 bits, float32 in [-1, 1] where it has more.

        Raises:
            UserError: An image of the item cannot be read.
        """


@runtime_checkable
class InFiles(Images, Protocol):
    """Images that know when they have changed, so that a cache of them may outlive a run."""

    label: str
    """Name of the part of the data set, e.g. "trainA"; caches are named after it."""
    root: Path
    """The data set's folder."""

    def rule(self) -> dict[str, Any]:
        """Return what pixels depend on besides the files, as plain values."""

    def stamps(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of change of every file; -1 for those of a missing one."""


@runtime_checkable
class OpensImages(Protocol):
    """Data options that bring a reader of their own, of whatever storage (docs/extending.md)."""

    def open_images(self, split: str, channels: tuple[int, ...]) -> Sequence[Images]:
        """Open the images of a split: [A, B] unpaired, [pairs], or [the one domain].

        Args:
            split: "train" or "test"; where there is no test split, open the training images.
            channels: Of the data set's A and B, or of the one domain.

        Raises:
            UserError: The data is missing or unreadable.
        """
