"""What every reader offers, whatever storage its images lie in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.data.label_maps import Ids
from core.data.picture import Pixels
from core.data.stored import Stored


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


class Pictures(Protocol):
    """Numbered pictures of one storage, which `data.a` and `data.b` name by an address.

    A reader is made once and travels to loader processes, so it pickles, and opens what it needs
    there. Order, crops and resuming are not its business: whoever asks for a picture says which.
    """

    def __len__(self) -> int:
        """Number of pictures."""

    def key(self, item: int) -> str:
        """Name without its ending, by which partners in other storages are found."""

    def name(self, item: int) -> str:
        """Name for messages and results."""

    def stored(self, item: int) -> Stored:
        """Decode a picture, and leave its values as they are stored.

        Raises:
            UserError: It cannot be read.
        """

    def ids(self, item: int) -> Ids:
        """Decode a label map; see `core.data.label_maps.read_ids`.

        Raises:
            UserError: It cannot be read, or is none.
        """

    def stamps(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of change of every file; see `InFiles.stamps`.

        Raises:
            UserError: Changes cannot be told.
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
