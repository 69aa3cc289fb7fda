"""Looking over what `data.a` and `data.b` can name: shards, arrays, data sets, stacked folders."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.data.addresses import open_address
from core.data.images import Description, describe, describe_image
from core.data.label_maps import NO_CLASS, read_ids
from core.data.listing import list_images
from core.data.names import stem
from core.data.parallel import in_threads
from core.data.readers.interface import Pictures
from core.data.readers.storage import is_remote
from core.data.readers.tables import is_table
from core.errors import UserError

_SPLITS = ("train", "val", "test")
_MOST_CLASSES = 64
"""Gray pictures whose values are all below are taken for label maps."""
_SAMPLE = 20
"""Pictures of a folder that are looked at."""


def is_address(text: str) -> bool:
    """Tell whether a text names something else than a folder of this machine."""
    path = Path(text.partition("#")[0]).expanduser()
    return "#" in text or is_remote(text) or not path.is_dir() or is_table(path)


def open_described(address: str) -> tuple[Pictures, Callable[[int], Description]]:
    """Open the training pictures at an address, and return what describes one of them.

    Raises:
        UserError: As `core.data.addresses.open_address`.
    """
    pictures = open_address(".", address, "train", _SAMPLE)
    return pictures, lambda item: describe(pictures.stored(item))


def stack_of(folder: Path) -> tuple[list[Any], str] | None:
    """Find folders of pictures of equal names; return what `a` and `b` could be.

    `b` is the one in colours, or else the last.
    """
    parts: dict[str, tuple[Path, ...]] = {}
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if sub.name not in _SPLITS and not sub.name.startswith("."):
            with contextlib.suppress(UserError):
                parts[sub.name] = list_images(sub)
    keys = {
        name: {stem(path.relative_to(folder / name).as_posix()) for path in files}
        for name, files in parts.items()
    }
    if len(keys) < 2 or len(set(map(frozenset, keys.values()))) > 1:
        return None
    kinds = {name: _kind(name, files[:_SAMPLE]) for name, files in parts.items()}
    target = next((name for name, kind in kinds.items() if kind == f"{name}/"), list(kinds)[-1])
    return [kind for name, kind in kinds.items() if name != target], f"{target}/"


def _kind(name: str, files: tuple[Path, ...]) -> Any:
    """Say how the pictures of a folder are read: as they are, as deep ones, or as label maps."""
    found = in_threads(lambda i: describe_image(files[i]), len(files), f"looking at {name}")
    with contextlib.closing(found) as outcomes:
        seen = [one for one in outcomes if isinstance(one, Description)]
    if seen and all(one.deep for one in seen):
        return {"path": f"{name}/", "white": max(one.span[1] for one in seen)}
    if seen and all(one.mode in {"L", "P"} for one in seen):
        try:
            ids = np.unique(np.concatenate([np.unique(read_ids(file)) for file in files]))
        except UserError:
            return f"{name}/"
        classes = int(ids[ids != NO_CLASS].max(initial=0)) + 1
        if 1 < classes <= _MOST_CLASSES:
            return {"path": f"{name}/", "labels": classes}
    return f"{name}/"
