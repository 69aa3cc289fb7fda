"""Style codes: drawn, read from example images, or taken from .npy files."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from core.data.folders import find_single, find_unpaired, has_split
from core.data.names import distinct, result_names
from core.errors import UserError
from core.inference.latent import read_vectors
from core.inference.translator import Translator
from core.options import Direction


class StyleSet(NamedTuple):
    """Some styles for one direction: codes [K, style_dim], float32, on the CPU."""

    names: tuple[str, ...]
    """Unique, and fit for file names."""
    codes: Tensor
    pictures: tuple[Path | None, ...]
    """The example images that the codes were read from, where they were."""


def drawn(translator: Translator, num: int, seed: int) -> StyleSet:
    """Draw `num` random styles of the prior, the same for a seed."""
    names = tuple(f"style_{i:02d}" for i in range(num))
    return StyleSet(names, translator.random_styles(num, seed), (None,) * num)


def seed_of(name: str, seed: int) -> int:
    """Return the seed of what is drawn for one picture, by its name alone."""
    return seed ^ zlib.crc32(os.fsencode(name))


def read_codes(path: Path, style_dim: int) -> Tensor:
    """Read codes [K, style_dim], or one code [style_dim]; errors as `read_vectors`."""
    expected = f"style codes of this checkpoint are numbers [number of styles, {style_dim}]"
    return read_vectors(path, style_dim, expected)


def states_domains(path: Path) -> bool:
    """Tell whether a path of styles says by itself which images belong to which domain."""
    return path.is_dir() and has_split(path, "test", paired=False)


def _example_files(path: Path, direction: Direction, max_images: int | None) -> tuple[Path, ...]:
    """Find images of the target domain: of a data set's test split, a folder, or one image."""
    if states_domains(path):
        found = find_unpaired(path, "test", max_images)
        return found.b if direction == "AtoB" else found.a
    return find_single(path, max_images)


def given(
    translator: Translator,
    paths: Sequence[Path],
    direction: Direction,
    max_images: int | None = None,
) -> StyleSet:
    """Return the styles that paths stand for.

    A path is a .npy file of codes; an image; a folder of images, of which `max_images` are taken at
    most; or a data set, of which the test images of the direction's target domain are taken.

    Raises:
        UserError: nothing there, or unreadable.
    """
    names: list[str] = []
    codes: list[Tensor] = []
    pictures: list[Path | None] = []
    for path in paths:
        if path.suffix == ".npy":
            rows = read_codes(path, translator.require_styles().style_dim)
            names += [f"{path.stem}_{row:02d}" for row in range(len(rows))]
            codes.append(rows)
            pictures += [None] * len(rows)
            continue
        files = _example_files(path, direction, max_images)
        folder = Path(os.path.commonpath([file.parent for file in files]))
        names += [stem.replace("/", "_") for stem in result_names(files, folder)]
        read = (translator.read(file, direction, target=True) for file in files)
        codes += [translator.encode_style(picture, direction) for picture in read]
        pictures += files
    repeated = {name for name in names if names.count(name) > 1}
    unique = [f"{i:02d}_{name}" if name in repeated else name for i, name in enumerate(names)]
    return StyleSet(tuple(distinct(unique)), torch.cat(codes), tuple(pictures))


def one(translator: Translator, text: str, direction: Direction) -> StyleSet:
    """Return a single style: an image, a .npy file of one code, or `FILE.npy:ROW` of several.

    Raises:
        UserError: nothing there, or several styles.
    """
    path, row = text, ""
    head, _, tail = text.rpartition(":")
    if head.endswith(".npy"):
        if not tail.isdigit():
            raise UserError(f"{text}: {tail!r} is no row number; write FILE.npy:ROW")
        path, row = head, tail
    styles = given(translator, [Path(path)], direction)
    num, i = len(styles.codes), int(row or 0)
    if not row and num > 1:
        raise UserError(
            f"{text}: {num} styles; give one image, or a row of the file as FILE.npy:ROW"
        )
    if i >= num:
        raise UserError(f"{text}: the file has rows 0 to {num - 1}")
    return StyleSet((styles.names[i],), styles.codes[i : i + 1], (styles.pictures[i],))
