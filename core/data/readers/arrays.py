"""Many pictures in one NumPy file `.npy`: [N, H, W], or [N, H, W, C], of any numbers.

What is read is what is asked for: local files are mapped into memory, others read in part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from core.data.label_maps import Ids, as_ids
from core.data.readers.storage import fetch, is_remote, opened, stamp
from core.data.stored import Stored, of_numbers
from core.errors import UserError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ArrayPictures:
    """Pictures of an array; see `core.data.readers.interface.Pictures`.

    Attributes:
        address: Of the file.
        mark: Its stamp (`core.data.readers.storage`).
        shape: (N, H, W) or (N, H, W, C).
        dtype: NumPy's name of the type, with its byte order.
        start: Where the numbers begin in the file, in bytes.
    """

    address: str
    mark: tuple[int, int]
    shape: tuple[int, ...]
    dtype: str
    start: int

    @classmethod
    def open(cls, address: str) -> ArrayPictures:
        """Read the header.

        Raises:
            UserError: The file is missing, damaged, or holds something else.
        """
        with opened(address) as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {1: np.lib.format.read_array_header_1_0}.get(
                    version[0], np.lib.format.read_array_header_2_0
                )
                shape, in_columns, dtype = read(file)
                start = file.tell()
            except (ValueError, OSError, EOFError) as error:
                raise UserError(f"{address}: no NumPy array ({error})") from None
        if dtype.kind not in "buif" or len(shape) not in (3, 4) or in_columns or not all(shape):
            raise UserError(
                f"{address}: holds {dtype} of shape {shape}; many pictures are [N, H, W] or "
                "[N, H, W, C] of real numbers, in C order"
            )
        mark = stamp(address)
        if mark[0] < start + math.prod(shape) * dtype.itemsize:
            raise UserError(f"{address}: ends too early; write it again")
        return cls(address, mark, shape, dtype.str, start)

    def __len__(self) -> int:
        """Number of pictures."""
        return self.shape[0]

    def key(self, item: int) -> str:
        """Return the number, by which arrays are partners."""
        return str(item)

    def name(self, item: int) -> str:
        """Return file and number."""
        return f"{self.address.rpartition('/')[2]}#{item}"

    def stored(self, item: int) -> Stored:
        """See `Pictures.stored`."""
        values = self._values(item)
        try:
            return of_numbers(values.reshape(*values.shape[:2], -1), alpha=False)
        except ValueError as error:
            raise UserError(f"{self.name(item)}: {error}") from None

    def ids(self, item: int) -> Ids:
        """See `Pictures.ids`."""
        return as_ids(self._values(item), self.name(item))

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `Pictures.stamps`."""
        return [(self.address, *self.mark)]

    def _values(self, item: int) -> Array:
        if not is_remote(self.address):
            return np.array(self._mapped[item])
        dtype, shape = np.dtype(self.dtype), self.shape[1:]
        length = math.prod(shape) * dtype.itemsize
        content = fetch(self.address, self.start + item * length, length)
        return np.frombuffer(content, dtype).reshape(shape)

    @cached_property
    def _mapped(self) -> Array:
        return np.memmap(self.address, self.dtype, "r", self.start, self.shape)

    def __getstate__(self) -> dict[str, object]:
        # Loader processes map the file anew instead of receiving its numbers.
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}
