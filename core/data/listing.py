"""Listing the images of a folder, and helping where there are none."""

from __future__ import annotations

import difflib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core.data.images import ARRAYS, has_image_extension
from core.data.pages import pages
from core.errors import UserError

log = logging.getLogger(__name__)

_UNREAD = frozenset(
    {".heic", ".heif", ".jxl", ".exr", ".hdr", ".svg", ".eps", ".ps", ".pdf"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf"}
)
"""Suffixes of pictures that nobody should miss without being told."""
_said: set[Path] = set()
_COMMON = (".jpg", ".png", ".tif", ".webp", ".npy")


def expanded(path: str | Path) -> Path:
    """Return the path with a leading `~` or `~user` written out.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such user; write the folder out") from None


def list_images(folder: Path, without: Path | None = None) -> tuple[Path, ...]:
    """List all images in a folder and its sub-folders, in plain string order of the full path.

    Hidden files and folders (".DS_Store", "._photo.jpg") are passed over, and linked sub-folders
    and `without` are not entered. Pages of one file are images of their own (`core.data.pages`).
    NumPy arrays count where there are no other images: they are found beside results.

    Raises:
        UserError: The folder is missing or holds no images, or a file has the name of a page.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}/: there is no such folder; {nearest(folder)}")
    left_out = without.resolve() if without else None
    images: list[Path] = []
    others: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_refuse_unlistable):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and (not left_out or Path(parent, name).resolve() != left_out)
        ]
        for name in files:
            if not name.startswith("."):
                path = Path(parent, name)
                (images if has_image_extension(path) else others).append(path)
    images = [path for path in images if path.suffix.lower() not in ARRAYS] or images
    _say_unread(folder, [path for path in others if path.suffix.lower() in _UNREAD])
    if not images:
        there = f"{len(others)} other files, e.g. {min(others).name}" if others else "it is empty"
        raise UserError(f"{folder}/: no images found ({', '.join(_COMMON)}, ...); {there}")
    found = [page for path in images for page in pages(path)]
    twice = [path for path, number in Counter(found).items() if number > 1]
    if twice:
        raise UserError(f"{twice[0]}: is a file, and the name of a page of another; rename it")
    return tuple(sorted(found, key=str))


def walk_images(folder: Path, without: Path | None = None) -> Iterator[Path | UserError]:
    """Give the images of `list_images` one by one in the order of the disk, without a list of them.

    In place of a sub-folder that cannot be listed comes an error. A file with the name of a page is
    not noticed.

    Raises:
        UserError: the folder itself cannot be listed, or holds no images.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}/: there is no such folder; {nearest(folder)}")
    left_out = without.resolve() if without else None
    found = False
    for path in _walk(folder, left_out):
        if isinstance(path, UserError):
            yield path
        elif has_image_extension(path) and path.suffix.lower() not in ARRAYS:
            found = True
            yield from pages(path)
    if not found:
        yield from list_images(folder, without)


def _walk(folder: Path, left_out: Path | None) -> Iterator[Path | UserError]:
    """Give the files of a folder, then those of its sub-folders, without hidden ones."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield Path(entry.path)
                elif not entry.is_symlink() and (
                    not left_out or Path(entry.path).resolve() != left_out
                ):
                    folders.append(Path(entry.path))
    except OSError as error:
        yield UserError(f"{folder}: the folder cannot be listed ({error.strerror})")
    for inner in sorted(folders):
        yield from _walk(inner, left_out)


def _say_unread(folder: Path, files: Sequence[Path]) -> None:
    """Log, once for a folder, the pictures in it that are not read."""
    if files and folder not in _said:
        _said.add(folder)
        log.warning(
            "%s: left out %d pictures of formats that are not read, e.g. %s; convert them",
            folder,
            len(files),
            min(files).name,
        )


def _refuse_unlistable(error: OSError) -> None:
    raise UserError(f"{error.filename}: the folder cannot be listed ({error.strerror})") from error


def nearest(missing: Path) -> str:
    """Say what stands beside a missing path."""
    if not missing.parent.is_dir():
        return f"{missing.parent} does not exist either"
    near = closest(missing.name, (entry.name for entry in missing.parent.iterdir()))
    return f"did you mean {missing.parent / near}?" if near else "check the path"


def closest(wanted: str, names: Iterable[str]) -> str | None:
    """Return the name nearest to a wanted one that is not there; None if none is near."""
    by_lower = {name.lower(): name for name in names if name != wanted}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None
