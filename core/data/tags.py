"""Tag files: what is said of each image of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.data.lines import read_lines
from core.data.names import same
from core.errors import UserError


def read_tags(path: Path) -> dict[str, str]:
    """Read captions by image id, from lines `id,caption` without a header.

    Blank lines do not count. A caption may contain commas.

    Raises:
        UserError: The file is missing, empty, not UTF-8, or a line is not of that form or repeats
            an id.
    """
    captions: dict[str, str] = {}
    for number, line in read_lines(path, f"data.tags: {path}"):
        name, comma, caption = (part.strip() for part in line.partition(","))
        if not (name and comma and caption):
            raise UserError(
                f"{path}, line {number}: {line!r} is not `id,caption`, e.g. `7,blue hair red eyes`"
            )
        if same(name) in captions:
            raise UserError(f"{path}, line {number}: id {name} stands there twice; remove one")
        captions[same(name)] = caption
    if not captions:
        raise UserError(f"{path}: names no images; give a line `id,caption` for each")
    return captions


def match_tags(path: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """Return the caption of each image; an image's id is its file name without extension.

    Raises:
        UserError: Images without tags, tags without images, two images of one id, or as
            `read_tags`.
    """
    captions = read_tags(path)
    by_id: dict[str, Path] = {}
    for file in files:
        stem = same(file.stem)
        if stem in by_id:
            raise UserError(
                f"{by_id[stem]} and {file}: both have the id {stem}, so {path.name} "
                "cannot tell them apart; rename or remove one"
            )
        by_id[stem] = file
    _require_none(path, "images have no line in it", [i for i in by_id if i not in captions])
    _require_none(path, "of its ids have no image", [i for i in captions if i not in by_id])
    return tuple(captions[same(file.stem)] for file in files)


def _require_none(path: Path, what: str, ids: Sequence[str]) -> None:
    if ids:
        shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        raise UserError(f"{path}: {len(ids)} {what} ({shown}); add or remove them")
