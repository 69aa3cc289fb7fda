"""Names: the same however they are spelt, printable, and different for different results."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def same(name: str) -> str:
    """Return the one spelling (NFC) of a name that file systems may keep in several."""
    return unicodedata.normalize("NFC", name)


def stem(name: str) -> str:
    """Return a name without its ending."""
    return name.removesuffix(ending(Path(name)))


def ending(path: Path) -> str:
    """Return the ending of a file's name; unlike `Path.suffix` it knows `.nii.gz`."""
    return path.name[-7:] if path.name.lower().endswith(".nii.gz") else path.suffix


def printable(name: str) -> str:
    """Return a file's name with bytes that are not UTF-8 written as %E9."""
    return _NOT_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)


def result_names(files: Sequence[Path], root: Path) -> list[str]:
    """Return a name without extension for what is made of each file; no two are the same.

    It is the path relative to `root`, or, outside of it, what is left of the path without the way
    up. Two files of one name add their extensions, and where that does not do, a number. Letters
    that differ only in case count as the same: some file systems cannot tell them apart.
    """
    paths = [inside(file, root) for file in files]
    stems = [printable(stem(path.as_posix())) for path in paths]
    repeated = Counter(map(_key, stems))
    return distinct(
        [
            f"{name}_{path.suffix[1:]}" if repeated[_key(name)] > 1 else name
            for name, path in zip(stems, paths, strict=True)
        ]
    )


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names with `_2`, `_3`, ... behind those that came before."""
    taken = set(map(_key, names))
    seen: set[str] = set()
    result = []
    for name in names:
        chosen, number = name, 1
        while _key(chosen) in (seen if chosen == name else seen | taken):
            number += 1
            chosen = f"{name}_{number}"
        seen.add(_key(chosen))
        result.append(chosen)
    return result


def _key(name: str) -> str:
    return same(name).casefold()


def inside(file: Path, root: Path) -> Path:
    """Return a path relative to `root`; of one outside, what is left without the way up."""
    path = file.relative_to(root) if file.is_relative_to(root) else file
    return Path(*(part for part in path.parts if part not in ("..", path.anchor)))
