"""Rows of tables as a job's pictures: parquet files, and what `Dataset.save_to_disk` has written.

`rows-{00..99}.parquet#image` and `folder#image` name a column; without, the only one of pictures is
taken. Parquet files may be remote, such as `hf://datasets/owner/name/data/train-00000.parquet`.
Pictures are bytes, alone or as Hugging Face keeps them, which our reader decodes; results are named
after file and row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from core.data.images import decode_picture, picture_of_stored
from core.data.picture import Picture
from core.data.readers.shards import expand_text
from core.data.readers.storage import fetch, opened
from core.data.readers.tables import TablePictures, is_table
from core.errors import UserError
from core.options import Span

_SUFFIX = ".parquet"
_ROWS = 64
"""Rows that are read together."""


@dataclass(frozen=True, slots=True)
class BytesItem:
    """A picture whose bytes were read with those of others."""

    name: str
    part: str
    content: bytes

    def read(self, span: Span | None) -> Picture:
        """See `core.jobs.bulk.sources.Item`."""
        return decode_picture(self.content, self.name, span)


@dataclass(frozen=True, slots=True)
class RowItem:
    """A row of a data set on disk, which each process opens once."""

    name: str
    folder: Path
    column: str
    row: int
    part: ClassVar[str] = ""

    def read(self, span: Span | None) -> Picture:
        """See `core.jobs.bulk.sources.Item`."""
        stored = _opened(self.folder, self.column).stored(self.row)
        return picture_of_stored(stored, span, self.name)


@cache
def _opened(folder: Path, column: str) -> TablePictures:
    return TablePictures.open(folder, column)


@dataclass(frozen=True)
class TableSource:
    """A column of a data set on disk; see `core.jobs.bulk.sources.Source`."""

    folder: Path
    column: str

    def parts(self) -> Sequence[str]:
        """See `Source`."""
        return ("",)

    def items(self, part: str) -> Iterator[RowItem]:
        """See `Source`."""
        for row in range(self.count()):
            yield RowItem(f"{row:08d}", self.folder, self.column, row)

    def count(self) -> int:
        """See `Source`."""
        return len(_opened(self.folder, self.column))


@dataclass(frozen=True)
class ParquetSource:
    """A column of parquet files; see `core.jobs.bulk.sources.Source`."""

    files: tuple[str, ...]
    column: str

    def parts(self) -> Sequence[str]:
        """Return the files."""
        return self.files

    def items(self, part: str) -> Iterator[BytesItem | UserError]:
        """See `Source`."""
        stem = part.rpartition("/")[2].removesuffix(_SUFFIX)
        try:
            with _table(part) as table:
                column, row = _column_of(table.schema_arrow, self.column, part), 0
                for batch in table.iter_batches(_ROWS, columns=[column]):
                    for value in batch.column(0).to_pylist():
                        name = f"{stem}/{row:08d}"
                        row += 1
                        try:
                            yield BytesItem(name, part, _content(value))
                        except UserError as error:
                            yield UserError(f"{name}: {error}")
        except UserError as error:
            yield error

    def count(self) -> int:
        """See `Source`; estimated from the first file."""
        with _table(self.files[0]) as table:
            return int(table.metadata.num_rows) * len(self.files)


def is_table_address(address: str) -> bool:
    """Tell whether an address is that of a table."""
    where = address.partition("#")[0]
    return where.endswith(_SUFFIX) or ("://" not in where and is_table(Path(where)))


def open_table(address: str) -> TableSource | ParquetSource:
    """Open what an address of a table stands for.

    Raises:
        UserError: it cannot be read, has no such column, or a package is missing.
    """
    where, _, column = address.partition("#")
    if where.endswith(_SUFFIX):
        return ParquetSource(tuple(expand_text(where)), column)
    return TableSource(Path(where), TablePictures.open(Path(where), column).column)


@contextmanager
def _table(address: str) -> Iterator[Any]:
    try:
        import pyarrow as arrow  # noqa: PLC0415  (an extra)
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise UserError(
            "parquet files need pyarrow: pip install 'image-translation[datasets]'"
        ) from None
    with opened(address) as file:
        try:
            yield parquet.ParquetFile(file)
        except (arrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{address}: no parquet file, or a damaged one ({reason})") from None


def _column_of(schema: Any, column: str, address: str) -> str:
    """Return the column meant: bytes, or bytes and path as Hugging Face has them."""
    pictures = [field.name for field in schema if "binary" in str(field.type)]
    if column in pictures:
        return column
    if column or len(pictures) != 1:
        raise UserError(
            f"{address}: has the columns {', '.join(schema.names)}; name one of pictures, such as "
            f"{address}#{(pictures or schema.names)[0]}"
        )
    return pictures[0]


def _content(value: Any) -> bytes:
    if isinstance(value, dict):
        content, path = value.get("bytes"), value.get("path")
        if content is None and path:
            return fetch(path)
        value = content
    if not isinstance(value, bytes):
        raise UserError("holds no picture")
    return value
