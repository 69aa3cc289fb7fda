"""Pictures in a column of a Hugging Face data set (the extra `datasets`): on disk, or streamed.

On disk is what `Dataset.save_to_disk` has written. A stream gives rows in their order only, so it
needs `data.serial: true`: then each loader process passes over the rows of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.data.images import decode_stored
from core.data.label_maps import Ids, as_ids, read_ids
from core.data.readers.storage import fetch
from core.data.stored import Stored, of_numbers
from core.errors import UserError

STREAM = "datasets://"
"""What the address of a stream begins with: `datasets://owner/name#column`, or a local folder."""


def is_table(folder: Path) -> bool:
    """Tell whether a folder was written by `save_to_disk`, whole or in splits."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


@dataclass(frozen=True)
class TablePictures:
    """A column of a data set on disk; see `core.data.readers.interface.Pictures`.

    Attributes:
        folder: Of the data set, or of one of its splits.
        column: Its name.
    """

    folder: Path
    column: str

    @classmethod
    def open(cls, folder: Path, column: str) -> TablePictures:
        """Open a data set without splits; the only column of pictures if none is named.

        Raises:
            UserError: It cannot be opened, or does not have that column.
        """
        table = _loaded(folder)
        return cls(folder, _column_of(table.features, column, str(folder)))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._table)

    def key(self, item: int) -> str:
        """Return the row's number, by which columns are partners."""
        return str(item)

    def name(self, item: int) -> str:
        """Return folder, column and row."""
        return f"{self.folder.name}#{self.column}-{item:06d}"

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`."""
        return _stored(self._table[item][self.column], self.name(item))

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return _ids(self._table[item][self.column], self.name(item))

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `Pictures.stamps`."""
        files = sorted(self.folder.glob("*.arrow"))
        return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]

    @cached_property
    def _table(self) -> Any:
        return _undecoded(_loaded(self.folder), self.column)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "column": self.column}


@dataclass(eq=False)
class StreamPictures:
    """A column of a streamed data set; see `core.data.readers.interface.Pictures`.

    Attributes:
        source: Name on the Hub, or a local folder.
        split: Of the data set.
        column: Its name.
        number: Rows.
    """

    source: str
    split: str
    column: str
    number: int
    _next: int = 0
    _rows: Iterator[dict[str, Any]] | None = field(default=None, repr=False)
    _last: tuple[int, Any] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, source: str, split: str, column: str, max_images: int | None) -> StreamPictures:
        """Open a stream; the only column of pictures if none is named.

        Raises:
            UserError: It cannot be opened, does not have that column, or does not say how many rows
                it has and there is no `max_images`.
        """
        stream = _streamed(source, split)
        rows = getattr((stream.info.splits or {}).get(split), "num_examples", None)
        number = min(x for x in (rows, max_images, 2**62) if x)
        if number == 2**62:
            raise UserError(
                f"{STREAM}{source}: does not say how many rows it has; set data.max_images"
            )
        features = stream.features or stream._resolve_features().features
        return cls(source, split, _column_of(features, column, source), number)

    def __len__(self) -> int:
        """Number of rows."""
        return self.number

    def key(self, item: int) -> str:
        """Return the row's number."""
        return str(item)

    def name(self, item: int) -> str:
        """Return source, column and row."""
        return f"{self.source}#{self.column}-{item:06d}"

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`; rows before the last one mean a new stream."""
        return _stored(self._row(item), self.name(item))

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return _ids(self._row(item), self.name(item))

    def stamps(self) -> list[tuple[str, int, int]]:
        """Refuse: a stream does not tell when it changes."""
        raise UserError(f"data.cache: disk, but {STREAM}{self.source} is a stream; set it to ram")

    def _row(self, item: int) -> Any:
        if self._last is not None and self._last[0] == item:
            return self._last[1]
        try:
            if self._rows is None or item < self._next:
                stream = _undecoded(_streamed(self.source, self.split), self.column)
                # Not iter(stream): within a loader process that gives a share of the rows only.
                self._rows, self._next = stream.skip(item).iter(batch_size=1), item
            for _ in range(item - self._next):
                next(self._rows)
            (row,) = next(self._rows)[self.column]
        except StopIteration:
            raise UserError(f"{STREAM}{self.source}: ends before row {item}") from None
        except UserError:
            raise
        except Exception as error:  # whatever the network and the file formats raise
            raise UserError(f"{self.name(item)}: cannot be read ({_line(error)})") from error
        self._next, self._last = item + 1, (item, row)
        return row

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_next": 0, "_rows": None, "_last": None}


def _package() -> Any:
    try:
        import datasets  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UserError(
            "data sets of Hugging Face need the package datasets; "
            "pip install 'image-translation[datasets]'"
        ) from None
    return datasets


def _loaded(folder: Path) -> Any:
    try:
        return _package().load_from_disk(str(folder))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{folder}: cannot be read as a data set ({_line(error)})") from error


def _streamed(source: str, split: str) -> Any:
    try:
        return _package().load_dataset(source, split=split, streaming=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{STREAM}{source}: cannot be opened ({_line(error)})") from error


def _column_of(features: Any, column: str, name: str) -> str:
    if column in features:
        return column
    pictures = [key for key, kind in features.items() if type(kind).__name__ == "Image"]
    if column or len(pictures) != 1:
        raise UserError(
            f"{name}: has the columns {', '.join(features)}; name the one that is meant, "
            f"such as {name}#{(pictures or list(features))[0]}"
        )
    return pictures[0]


def _undecoded(table: Any, column: str) -> Any:
    """Leave pictures as the bytes of their files: our reader decodes them."""
    table = table.select_columns([column])
    if type(table.features[column]).__name__ == "Image":
        return table.cast_column(column, _package().Image(decode=False))
    return table.with_format("numpy")


def _stored(value: Any, name: str) -> Stored:
    if isinstance(value, dict):
        return decode_stored(_content(value), name)
    values = np.asarray(value)
    try:
        if values.ndim not in (2, 3):
            raise ValueError(f"shape {values.shape}; a picture is [H, W] or [H, W, C]")
        return of_numbers(values.reshape(*values.shape[:2], -1), alpha=False)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None


def _ids(value: Any, name: str) -> Ids:
    if isinstance(value, dict):
        return read_ids(Path(name), _content(value))
    return as_ids(np.asarray(value), name)


def _content(value: dict[str, Any]) -> bytes:
    content: bytes | None = value.get("bytes")
    return fetch(value["path"]) if content is None else content


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
