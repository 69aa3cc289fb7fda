"""A data set's images as numbered items, decoded and resized on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from core.data.folders import TwoDomains
from core.data.images import Pixels, as_array, image_size, open_image
from core.data.transforms import resize, resized_size
from core.errors import UserError
from core.options import DataOptions

Shape = tuple[int, int, int]


class Images(Protocol):
    """Numbered items of one image (unpaired) or two (a pair); read from files or from a cache."""

    def __len__(self) -> int:
        """Number of items."""

    def name(self, item: int, image: int) -> str:
        """File of an item's image, relative to the data set's folder."""

    def read(self, item: int) -> tuple[Pixels, ...]:
        """An item's resized images, each uint8 [C, H, W]; not to be written to.

        Raises:
            UserError: A file of the item cannot be read.
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


@dataclass(frozen=True)
class Source:
    """Images read from their files each time.

    Attributes:
        label: Name of the part of the data set, e.g. "trainA"; caches are named after it.
        root: The data set's folder.
        files: Per item its files: one, or two for a pair in two files.
        channels: Per image of an item its channels; one entry, or two for pairs.
        side_by_side: An item is one file with two images, split at floor(width / 2).
        options: Rule of the resize.
    """

    label: str
    root: Path
    files: tuple[tuple[Path, ...], ...]
    channels: tuple[int, ...]
    side_by_side: bool
    options: DataOptions

    @classmethod
    def of(cls, found: TwoDomains, channels: tuple[int, ...], options: DataOptions) -> list[Source]:
        """Return the one source of pairs, two images an item, or one for each domain."""
        if found.paired:
            sides = (found.a,) if found.side_by_side else (found.a, found.b)
            files = tuple(zip(*sides, strict=True))
            return [cls(found.split, found.root, files, channels, found.side_by_side, options)]
        return [
            cls(f"{found.split}{domain}", found.root, tuple(zip(paths)), (count,), False, options)
            for domain, paths, count in zip("AB", (found.a, found.b), channels, strict=True)
        ]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.files)

    def name(self, item: int, image: int) -> str:
        """File of an item's image, relative to the data set's folder where it lies inside."""
        path = self.files[item][0 if self.side_by_side else image]
        return relative_name(path, self.root)

    def read(self, item: int) -> tuple[Pixels, ...]:
        """Decode, convert to the channels and resize; see `Images.read`."""
        pictures = [open_image(path) for path in self.files[item]]
        if self.side_by_side:
            pictures = split_pair(pictures[0], self.files[item][0])
        return tuple(
            resize(as_array(picture, channels), self.options).transpose(2, 0, 1)
            for picture, channels in zip(pictures, self.channels, strict=True)
        )

    def shapes(self, item: int) -> tuple[Shape, ...]:
        """Shapes (C, H, W) that `read` will give, without decoding where the headers suffice.

        Raises:
            UserError: A header cannot be read.
        """
        if self.options.preprocess == "resize_and_crop":
            sizes = [(1, 1)] * len(self.channels)  # every size is resized to the same square
        else:
            sizes = [image_size(path) for path in self.files[item]]
            if self.side_by_side:
                width, height = sizes[0]
                half = _half_width(width, self.files[item][0])
                sizes = [(half, height), (width - half, height)]
        resized = [resized_size(width, height, self.options) for width, height in sizes]
        return tuple(
            (channels, height, width)
            for channels, (width, height) in zip(self.channels, resized, strict=True)
        )


def split_pair(image: Image.Image, path: Path) -> list[Image.Image]:
    """Return the halves of a side-by-side pair; with an odd width the right is 1 pixel wider.

    Raises:
        UserError: The image is 1 pixel wide.
    """
    half, height = _half_width(image.width, path), image.height
    return [image.crop((0, 0, half, height)), image.crop((half, 0, image.width, height))]


def relative_name(path: Path, root: Path) -> str:
    """Return `path` relative to `root` where it lies inside, with forward slashes."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _half_width(width: int, path: Path) -> int:
    if width < 2:
        raise UserError(f"{path}: 1 pixel wide, so it cannot hold A and B side by side; remove it")
    return width // 2
