"""Finding the images of a data set on disk; the layouts are described in docs/data.md.

Every function returns a frozen list of paths or raises a `UserError` that says what is missing,
what is there instead and what to do. Nothing is decoded here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from core.data.images import has_image_extension
from core.data.lines import read_lines
from core.data.listing import closest, expanded, list_images, nearest
from core.data.names import same, stem
from core.data.pages import is_there, pages
from core.errors import UserError

SPLITS = ("train", "val", "test")
_STAND_INS = {"val": "test", "test": "val"}


@dataclass(frozen=True)
class TwoDomains:
    """Image files of two domains.

    Attributes:
        split: The split found; "val" may stand in for "test" and the reverse.
        a: Files of domain A.
        b: Files of domain B; the same files as `a` where pairs are side by side.
        origin: What was found, for messages, e.g. "trainA and trainB".
        paired: `a[i]` and `b[i]` show the same scene.
        side_by_side: Each file holds A in its left half and B in its right half.
    """

    root: Path
    split: str
    a: tuple[Path, ...]
    b: tuple[Path, ...]
    origin: str
    paired: bool = False
    side_by_side: bool = False


def find_unpaired(
    root: str | Path, split: str, max_images: int | None = None, val_fraction: float = 0.0
) -> TwoDomains:
    """Find `<root>/<split>A` and `<root>/<split>B`, each a folder or a list file `.txt`.

    At most `max_images` per domain are kept, after sorting. With `val_fraction`, where there is
    neither val nor test, that share of train stands for them and is missing in train.

    Raises:
        UserError: A domain is missing, empty, given twice, or its list names missing files.
    """
    folder = require_folder(root)
    share = 0.0 if splits_present(folder, paired=False) != ("train",) else val_fraction
    for name in (*names_to_try(split), *(("train",) if share else ())):
        if any(_domain_exists(folder, f"{name}{domain}") for domain in "AB"):
            domains = (_domain_files(folder, f"{name}{domain}") for domain in "AB")
            a, b = (part_of_train(files, split, share) for files in domains)
            origin = f"{name}A and {name}B"
            there = split if share else name
            return TwoDomains(folder, there, a[:max_images], b[:max_images], origin)
    raise UserError(
        f"{folder}: no unpaired data for split {split!r}; expected folders {split}A/ and {split}B/ "
        f"or list files {split}A.txt and {split}B.txt, but {_contents(folder, f'{split}A')}"
    )


def find_paired(
    root: str | Path, split: str, max_images: int | None = None, val_fraction: float = 0.0
) -> TwoDomains:
    """Find the pairs of a split in the one layout that the folder has.

    At most `max_images` pairs are kept, after sorting; `val_fraction` is as in `find_unpaired`.

    Raises:
        UserError: No layout or several are there, a side is empty, or partners are missing.
    """
    folder = require_folder(root)
    undivided = set(paired_layouts(folder, "train")) == {"A/ and B/"}
    divided = not undivided and splits_present(folder, paired=True) != ("train",)
    share = 0.0 if divided else val_fraction
    for name in (*names_to_try(split), *(("train",) if share else ())):
        layouts = paired_layouts(folder, name)
        if len(layouts) > 1:
            raise UserError(
                f"{folder}: pairs of split {name!r} are given more than once "
                f"({', '.join(layouts)}); keep one of them"
            )
        for find in layouts.values():
            found = find()
            kept = part_of_train(tuple(zip(found.a, found.b, strict=True)), split, share)[
                :max_images
            ]
            a, b = zip(*kept, strict=True)
            return replace(found, a=a, b=b, split=split if share else name)
    raise UserError(
        f"{folder}: no pairs for split {split!r}; expected {split}/ with A | B side by side, "
        f"{split}A/ and {split}B/, A/{split}/ and B/{split}/, A/ and B/, or a list {split}.txt, "
        f"but {_contents(folder, split)}"
    )


T = TypeVar("T", Path, tuple[Path, Path])


def held_out(files: Sequence[T], fraction: float) -> frozenset[T]:
    """Choose which files of train, or pairs, stand for val and test: the same at every call.

    The choice follows from the names alone, so that it survives a move to another machine.

    Raises:
        UserError: The share is all or nothing.
    """
    number = round(fraction * len(files))
    if not 0 < number < len(files):
        raise UserError(
            f"data.val_fraction = {fraction}: {number} of {len(files)} images; at least one must "
            "be kept, and one left to train on"
        )

    def place(item: T) -> bytes:
        path = item if isinstance(item, Path) else item[0]
        return hashlib.sha256(os.fsencode(same(path.stem))).digest()

    return frozenset(sorted(files, key=place)[:number])


def part_of_train(files: tuple[T, ...], split: str, share: float) -> tuple[T, ...]:
    """Return the part of train that is for `split`; all of it without a share."""
    if not share:
        return files
    kept = held_out(files, share)
    return tuple(file for file in files if (file in kept) != (split == "train"))


def find_single(
    path: str | Path, max_images: int | None = None, without: Path | None = None
) -> tuple[Path, ...]:
    """Find images of one domain: a folder (searched recursively), a list file, or one image.

    The folder `without`, such as that of results, is not entered.

    Raises:
        UserError: Nothing is there, or no images.
    """
    path = expanded(path)
    if path.is_dir():
        return list_images(path, without)[:max_images]
    if not (is_there(path) or path.exists()):
        raise UserError(f"{path}: there is no such file or folder; {nearest(path)}")
    if path.suffix.lower() == ".txt":
        return _read_list(path, path.parent)[:max_images]
    if has_image_extension(path):
        return pages(path)[:max_images]
    raise UserError(f"{path}: neither a folder, nor a list file .txt, nor an image")


def splits_present(root: str | Path, *, paired: bool) -> tuple[str, ...]:
    """Return the splits of which at least a part is there; none stands in for another here.

    Raises:
        UserError: `root` is no folder.
    """
    folder = require_folder(root)
    if paired:
        return tuple(split for split in SPLITS if paired_layouts(folder, split))
    return tuple(s for s in SPLITS if any(_domain_exists(folder, f"{s}{d}") for d in "AB"))


def has_split(root: str | Path, split: str, *, paired: bool) -> bool:
    """Tell whether data of `split` (or of its stand-in) is there, complete or not.

    Raises:
        UserError: `root` is no folder.
    """
    return not set(names_to_try(split)).isdisjoint(splits_present(root, paired=paired))


def paired_layouts(root: Path, split: str) -> dict[str, Callable[[], TwoDomains]]:
    """Return the paired layouts of which `root` has a part, by name; call one to list its files.

    `A/` and `B/` without folders for splits serve every split.
    """

    def two_folders(a: Path, b: Path) -> Callable[[], TwoDomains]:
        origin = f"{a.relative_to(root).as_posix()}/ and {b.relative_to(root).as_posix()}/"
        return lambda: TwoDomains(root, split, *_match(a, b), origin, paired=True)

    def side_by_side() -> TwoDomains:
        files = list_images(root / split)
        origin = f"{split}/ (A | B side by side)"
        return TwoDomains(root, split, files, files, origin, paired=True, side_by_side=True)

    layouts: dict[str, Callable[[], TwoDomains]] = {}
    if (root / f"{split}.txt").is_file():
        layouts[f"{split}.txt"] = lambda: _read_pair_list(root, split)
    inside = root / split
    if any((inside / domain).is_dir() for domain in "AB"):
        layouts[f"{split}/A/ and {split}/B/"] = two_folders(inside / "A", inside / "B")
    elif inside.is_dir():
        layouts[f"{split}/"] = side_by_side
    if any((root / f"{split}{domain}").is_dir() for domain in "AB"):
        a, b = root / f"{split}A", root / f"{split}B"
        layouts[f"{split}A/ and {split}B/"] = two_folders(a, b)
    if any((root / domain / split).is_dir() for domain in "AB"):
        layouts[f"A/{split}/ and B/{split}/"] = two_folders(root / "A" / split, root / "B" / split)
    elif not _has_split_folders(root) and any((root / domain).is_dir() for domain in "AB"):
        layouts["A/ and B/"] = two_folders(root / "A", root / "B")
    return layouts


def names_to_try(split: str) -> tuple[str, ...]:
    """Return the split's own name, then the one that may stand in for it."""
    return (split, _STAND_INS[split]) if split in _STAND_INS else (split,)


def require_folder(root: str | Path) -> Path:
    """Return `root` as a path.

    Raises:
        UserError: It is no folder.
    """
    folder = expanded(root)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"data.root = {folder}: is a file; give the data set's folder")
    raise UserError(f"data.root = {folder}: there is no such folder; {nearest(folder)}")


def _domain_exists(root: Path, name: str) -> bool:
    return (root / name).is_dir() or (root / f"{name}.txt").is_file()


def _domain_files(root: Path, name: str) -> tuple[Path, ...]:
    folder, list_file = root / name, root / f"{name}.txt"
    if folder.is_dir() and list_file.is_file():
        raise UserError(f"{root}: both {name}/ and {name}.txt are there; keep one of them")
    if list_file.is_file():
        return _read_list(list_file, root)
    if folder.is_dir():
        return list_images(folder)
    raise UserError(
        f"{root}: {name}/ (or {name}.txt) is missing, so one domain has no images; "
        f"{_contents(root, name)}"
    )


def _list_lines(list_file: Path) -> list[tuple[int, str]]:
    """Read numbered lines without blank ones and `#` comments."""
    lines = [line for line in read_lines(list_file, list_file) if not line[1].startswith("#")]
    if not lines:
        raise UserError(f"{list_file}: names no files; give one path a line")
    return lines


def _read_list(list_file: Path, root: Path) -> tuple[Path, ...]:
    """Return the files of a list in the list's own order."""
    lines = _list_lines(list_file)
    files = tuple(root / name for _, name in lines)
    _require_listed(list_file, root, zip((number for number, _ in lines), files, strict=True))
    return files


def _read_pair_list(root: Path, split: str) -> TwoDomains:
    list_file = root / f"{split}.txt"
    lines = _list_lines(list_file)
    pairs = [tuple(part.strip() for part in line.split("\t")) for _, line in lines]
    for (number, line), pair in zip(lines, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise UserError(
                f"{list_file}, line {number}: {line!r} is not two paths with a tab between them"
            )
    a, b = (tuple(root / pair[side] for pair in pairs) for side in (0, 1))
    numbers = [number for number, _ in lines]
    _require_listed(list_file, root, zip(numbers * 2, a + b, strict=True))
    return TwoDomains(root, split, a, b, f"{split}.txt", paired=True)


def _require_listed(list_file: Path, root: Path, entries: Iterable[tuple[int, Path]]) -> None:
    missing = [(number, path) for number, path in entries if not is_there(path)]
    if missing:
        first = ", ".join(f"line {number}: {path}" for number, path in missing[:3])
        raise UserError(
            f"{list_file}: {len(missing)} of its files do not exist ({first}); "
            f"paths are taken relative to {root}"
        )


def _match(folder_a: Path, folder_b: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Pair the files of two folders by their path without extension."""
    a, b = _by_stem(folder_a), _by_stem(folder_b)
    shared = os.path.commonpath([folder_a, folder_b])
    lonely = [f"{name} only in {folder_a.relative_to(shared)}" for name in a if name not in b]
    lonely += [f"{name} only in {folder_b.relative_to(shared)}" for name in b if name not in a]
    if lonely:
        raise UserError(
            f"{folder_a}/ and {folder_b}/: {len(lonely)} images have no partner of equal name "
            f"({', '.join(lonely[:3])}); rename or remove them"
        )
    return tuple(a.values()), tuple(b[name] for name in a)


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in list_images(folder):
        name = same(stem(path.relative_to(folder).as_posix()))
        if name in files:
            raise UserError(
                f"{path} and {files[name].name}: same name but for the extension, so the partner "
                "is ambiguous; remove or rename one"
            )
        files[name] = path
    return files


def _has_split_folders(root: Path) -> bool:
    return any((root / domain / split).is_dir() for domain in "AB" for split in SPLITS)


def _contents(folder: Path, wanted: str) -> str:
    """Say what a folder holds instead of `wanted`, and which name is nearest to it."""
    names = sorted(
        entry.name + ("/" if entry.is_dir() else "")
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
    )
    if not names:
        return "the folder is empty"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    near = closest(wanted, (name.rstrip("/") for name in names))
    return f"there is {shown}" + (f" (did you mean {near!r}?)" if near else "")
