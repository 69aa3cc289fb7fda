"""From results to files or bytes; what worker processes do at either end of the network."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from core.data.picture import Picture
from core.data.readers.storage import put
from core.errors import UserError
from core.jobs.bulk.manifest import Written
from core.jobs.bulk.records import FOLDER
from core.jobs.bulk.sources import Item
from core.options import Span
from core.report.encoding import QUALITY, FileFormat, encode
from core.runtime.files import write_file

_OF_ONE_NAME = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
"""Errors that the next picture need not meet."""


class OutputError(UserError):
    """The output takes no more files: a job has to stop."""


@dataclass(frozen=True)
class Encoding:
    """What results are written as.

    Attributes:
        kind: of file.
        quality: of JPEG and WebP.
        labels: what follows the picture's name for each of its results; "" where there is one.
    """

    kind: FileFormat = "png"
    quality: int = QUALITY
    labels: tuple[str, ...] = ("",)

    def names(self, stem: str) -> list[str]:
        """Return the names of a picture's results."""
        return [f"{stem}{label}.{self.kind}" for label in self.labels]


def read(item: Item, span: Span | None) -> Picture:
    """Decode a picture.

    Raises:
        UserError: it cannot be.
    """
    return item.read(span)


def encoded(
    stem: str, pictures: Sequence[Picture], encoding: Encoding
) -> list[tuple[Written, bytes]]:
    """Return the files of a picture's results, with their content.

    Raises:
        UserError: the kind of file cannot hold a result.
    """
    contents = [encode(picture, encoding.kind, encoding.quality) for picture in pictures]
    return [
        (Written(name, len(content), zlib.crc32(content)), content)
        for name, content in zip(encoding.names(stem), contents, strict=True)
    ]


def write(
    folder: Path, stem: str, pictures: Sequence[Picture], encoding: Encoding
) -> list[Written]:
    """Write a picture's results into a folder, each file whole or not at all.

    Raises:
        UserError: the kind of file cannot hold a result, or the folder not its name.
        OutputError: the disk is full, the folder read-only, or the like.
    """
    files = encoded(stem, pictures, encoding)
    for written, content in files:
        try:
            write_file(folder / written.name, partial(_put, content), folder / FOLDER)
        except UserError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _OF_ONE_NAME:
                raise
            raise OutputError(str(error)) from error
    return [written for written, _ in files]


def upload(
    address: str, stem: str, pictures: Sequence[Picture], encoding: Encoding
) -> list[Written]:
    """Put a picture's results into remote storage.

    Raises:
        UserError: the kind of file cannot hold a result.
        OutputError: the storage takes no more.
    """
    files = encoded(stem, pictures, encoding)
    for written, content in files:
        try:
            put(f"{address}/{written.name}", content)
        except UserError as error:
            raise OutputError(str(error)) from error
    return [written for written, _ in files]


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)
