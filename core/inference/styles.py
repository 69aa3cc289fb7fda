"""Style codes: drawn, read from example images, or taken from .npy files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.data.folders import find_single, find_unpaired, has_split
from core.data.images import open_image
from core.data.names import unique_stems
from core.errors import UserError
from core.inference.latent import read_numbers
from core.inference.translator import Translator
from core.options import Direction
from core.report.pictures import write_file


@dataclass(frozen=True)
class StyleSet:
    """Some styles for one direction.

    Attributes:
        names: of each; unique, fit for file names.
        codes: [K, style_dim], float32, on the CPU.
        pictures: of each, the example image it was read from, or None.
    """

    names: tuple[str, ...]
    codes: Tensor
    pictures: tuple[Path | None, ...]


def drawn(translator: Translator, num: int, seed: int) -> StyleSet:
    """`num` random styles of the prior, the same for a seed."""
    names = tuple(f"style_{i:02d}" for i in range(num))
    return StyleSet(names, translator.random_styles(num, seed), (None,) * num)


def read_codes(path: Path, style_dim: int) -> Tensor:
    """Codes of a .npy file: [K, style_dim], or one code [style_dim].

    Raises:
        UserError: as `read_numbers`, or of another shape.
    """
    codes = torch.atleast_2d(read_numbers(path))
    if codes.dim() != 2 or codes.shape[1] != style_dim or not len(codes):
        raise UserError(
            f"{path}: shape {list(codes.shape)}; style codes of this checkpoint are numbers "
            f"[number of styles, {style_dim}]"
        )
    return codes


def save_codes(codes: Tensor, path: Path) -> None:
    """Write codes [K, style_dim] as a .npy file that `read_codes` takes back."""
    write_file(path, lambda file: np.save(file, codes.cpu().numpy(), allow_pickle=False))


def _example_files(path: Path, direction: Direction, max_images: int | None) -> tuple[Path, ...]:
    """Images of the target domain: of a data set's test split, a folder, or one image."""
    if path.is_dir() and has_split(path, "test", paired=False):
        found = find_unpaired(path, "test", max_images)
        return found.b if direction == "AtoB" else found.a
    return find_single(path, max_images)


def states_domains(path: Path) -> bool:
    """Whether a path of styles says by itself which images belong to which domain."""
    return path.is_dir() and has_split(path, "test", paired=False)


def given(
    translator: Translator,
    paths: Sequence[Path],
    direction: Direction,
    max_images: int | None = None,
) -> StyleSet:
    """The styles that paths stand for.

    Args:
        translator: reads example images.
        paths: of each, a .npy file of codes; an image; a folder of images; or a data set, of which
            the test images of the direction's target domain are taken.
        direction: what the styles are for.
        max_images: at most so many examples of each folder.

    Raises:
        UserError: nothing there, or unreadable.
    """
    family = translator.styles
    assert family is not None, "a caller checks that there are styles"
    names: list[str] = []
    codes: list[Tensor] = []
    pictures: list[Path | None] = []
    for path in paths:
        if path.suffix == ".npy":
            rows = read_codes(path, family.style_dim)
            names += [f"{path.stem}_{row:02d}" for row in range(len(rows))]
            codes.append(rows)
            pictures += [None] * len(rows)
            continue
        files = _example_files(path, direction, max_images)
        folder = Path(os.path.commonpath([file.parent for file in files]))
        names += [stem.replace("/", "_") for stem in unique_stems(files, folder)]
        codes += [translator.encode_style(open_image(file), direction) for file in files]
        pictures += files
    repeated = {name for name in names if names.count(name) > 1}
    unique = [f"{i:02d}_{name}" if name in repeated else name for i, name in enumerate(names)]
    return StyleSet(tuple(unique), torch.cat(codes), tuple(pictures))


def one(translator: Translator, text: str, direction: Direction) -> StyleSet:
    """A single style: an image, a .npy file of one code, or `FILE.npy:ROW` of several.

    Raises:
        UserError: nothing there, or several styles.
    """
    path, row = text, None
    head, colon, tail = text.rpartition(":")
    if colon and head.endswith(".npy"):
        if not tail.isdigit():
            raise UserError(f"{text}: {tail!r} is no row number; write FILE.npy:ROW")
        path, row = head, int(tail)
    styles = given(translator, [Path(path)], direction)
    num = len(styles.codes)
    if row is None and num > 1:
        raise UserError(
            f"{text}: {num} styles; give one image, or a row of the file as FILE.npy:ROW"
        )
    if (row or 0) >= num:
        raise UserError(f"{text}: the file has rows 0 to {num - 1}")
    i = row or 0
    return StyleSet((styles.names[i],), styles.codes[i : i + 1], (styles.pictures[i],))
