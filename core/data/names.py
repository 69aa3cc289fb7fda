"""Names for outputs that are made of many input files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def unique_stems(files: Sequence[Path], root: Path) -> list[str]:
    """Return paths relative to `root` without extension; with it where two files share a stem."""
    relative = [file.relative_to(root) if file.is_relative_to(root) else file for file in files]
    stems = [str(path.with_suffix("")) for path in relative]
    repeated = Counter(stems)
    return [
        f"{stem}_{path.suffix[1:]}" if repeated[stem] > 1 else stem
        for stem, path in zip(stems, relative, strict=True)
    ]
