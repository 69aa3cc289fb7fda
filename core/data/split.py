"""A test split for a data set that has none: the files that `data.val_fraction` would keep move."""

from __future__ import annotations

from pathlib import Path

from core.data.folders import find_paired, find_unpaired, held_out, splits_present
from core.errors import UserError

_TRAIN = ("train", "trainA", "trainB")


def split_off(root: Path, fraction: float) -> list[str]:
    """Move a share of the training images to the test split, the same at every call.

    Partners of equal name move together; folders keep their inner structure.

    Returns:
        A line for each folder, for a person.

    Raises:
        UserError: There is a val or test split, no train split in folders, or a move failed.
    """
    if not 0 < fraction < 1:
        raise UserError(f"--split {fraction}: a share between 0 and 1")
    unpaired = splits_present(root, paired=False) == ("train",)
    if not unpaired and splits_present(root, paired=True) != ("train",):
        raise UserError(
            f"{root}: --split needs a data set with train and neither val nor test; where A/ and "
            "B/ serve every split, set data.val_fraction"
        )
    found = (find_unpaired if unpaired else find_paired)(root, "train")
    sides = [found.a] if found.side_by_side else [found.a, found.b]
    moves = {file: _destination(file, root) for side in sides for file in held_out(side, fraction)}
    for new in moves.values():
        if new.exists():
            raise UserError(f"{new}: is there already; nothing was moved")
    for old, new in moves.items():
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)
        except OSError as error:
            raise UserError(f"{old}: cannot be moved to {new} ({error.strerror})") from error
    return [
        f"moved {sum(f in moves for f in side)} of {len(side)} images to test" for side in sides
    ]


def _destination(file: Path, root: Path) -> Path:
    """Return where a file of train belongs in test."""
    parts = list(file.relative_to(root).parts) if file.is_relative_to(root) else []
    place = next((i for i, part in enumerate(parts[:-1]) if part in _TRAIN), None)
    if place is None or not file.is_file():
        raise UserError(
            f"{file}: is in a list, or a page of a file, and cannot move to a test folder; "
            "set data.val_fraction"
        )
    parts[place] = parts[place].replace("train", "test", 1)
    return root.joinpath(*parts)
