"""What every reader offers, whatever storage its images lie in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from core.data.picture import Pixels

Shape = tuple[int, int, int]


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
