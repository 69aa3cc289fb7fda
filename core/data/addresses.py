"""From an address in a config to the pictures it stands for; the forms are in docs/data.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.data.folders import names_to_try
from core.data.images import ARRAYS, has_image_extension
from core.data.lines import read_lines
from core.data.listing import list_images
from core.data.pages import is_there
from core.data.readers.arrays import ArrayPictures
from core.data.readers.files import FilePictures, RemotePictures
from core.data.readers.idx import IdxPictures, read_idx
from core.data.readers.interface import Pictures
from core.data.readers.shards import ShardPictures, expand_text
from core.data.readers.storage import exists, is_remote, joined, listed
from core.data.readers.tables import STREAM, StreamPictures, TablePictures, is_table
from core.errors import UserError

SPLIT = "{split}"
_IDX = ("idx3-ubyte", "idx3-ubyte.gz")


def has_part(root: str, address: str, split: str) -> bool:
    """Tell whether an address has pictures of a split, or of its stand-in, of its own."""
    return _part(root, address, split) is not None


def is_address(root: str, address: str) -> bool:
    """Tell whether there is anything at an address, of whatever split."""
    where = address.partition("#")[0]
    if where.startswith(STREAM) or has_part(root, where, "train") or has_part(root, where, "test"):
        return True
    return SPLIT not in where and exists(expand_text(joined(root, where))[0])


def open_address(root: str, address: str, split: str, max_images: int | None = None) -> Pictures:
    """Open the pictures of a split, or all there are where they are not divided.

    `max_images` is for streams that do not say how many they have.

    Raises:
        UserError: There is nothing, or what is there cannot be read.
    """
    where, _, part = address.partition("#")
    if where.startswith(STREAM):
        source = where.removeprefix(STREAM)
        return StreamPictures.open(source, split, part, max_images)
    place = _part(root, where, split)
    whole = joined(root, where)
    if place is None:
        if SPLIT in where:
            raise UserError(f"{whole}: there is nothing for split {split!r}")
        place = whole
    return _open(place, part, root)


def _part(root: str, address: str, split: str) -> str | None:
    """Return where the pictures of a split lie if they are apart from those of other splits."""
    where = address.partition("#")[0]
    if where.startswith(STREAM):
        return where if split == "train" else None
    whole = joined(root, where)
    for name in (*names_to_try(split), *(() if split == "train" else ("validation",))):
        if SPLIT in whole:
            place = whole.replace(SPLIT, name)
            if exists(expand_text(place)[0]):
                return place
        elif not _is_file(whole) and exists(f"{whole.rstrip('/')}/{name}"):
            return f"{whole.rstrip('/')}/{name}"
    return None


def _is_file(address: str) -> bool:
    return address.lower().endswith((".txt", ".tar", ".npy", *_IDX))


def _open(address: str, part: str, root: str) -> Pictures:
    lower, path = address.lower(), Path(address)
    if lower.endswith(".tar"):
        return ShardPictures.open(address, part)
    if lower.endswith(".npy"):
        return ArrayPictures.open(address)
    if not is_remote(address) and is_table(path):
        return TablePictures.open(path, part)
    if part:
        raise UserError(
            f"{address}#{part}: only samples in shards and rows of data sets have parts"
        )
    if is_remote(address):
        return _remote_folder(address)
    base = Path(root).expanduser()
    if lower.endswith(_IDX):
        return IdxPictures(path, read_idx(path))
    if lower.endswith(".txt"):
        return FilePictures(_read_list(path), base, None)
    return FilePictures(list_images(path), base, path)


def _remote_folder(address: str) -> RemotePictures:
    found = {
        name: mark for name, mark in listed(address).items() if has_image_extension(Path(name))
    }
    names = sorted(found)
    # As in `list_images`: arrays are found beside results.
    names = [name for name in names if Path(name).suffix.lower() not in ARRAYS] or names
    if not names:
        raise UserError(f"{address}: no images found there")
    return RemotePictures(address.rstrip("/"), tuple(names), tuple(found[name] for name in names))


def _read_list(file: Path) -> tuple[Path, ...]:
    """Return the files that a list names, relative to its own folder."""
    lines = [(number, line) for number, line in read_lines(file, file) if line[0] != "#"]
    files = tuple(file.parent / line for _, line in lines)
    missing: Sequence[tuple[int, str]] = [
        line for line, path in zip(lines, files, strict=True) if not is_there(path)
    ]
    if missing or not files:
        first = f"line {missing[0][0]}: {missing[0][1]}" if missing else "it is empty"
        raise UserError(f"{file}: {len(missing)} of its files do not exist ({first})")
    return files
