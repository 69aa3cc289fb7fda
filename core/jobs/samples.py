"""Samples of a generative checkpoint as pictures, a grid and a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.data.lines import read_lines
from core.errors import UserError
from core.inference.latent import read_numbers
from core.inference.sampler import Sampler
from core.report.gallery import write_test_gallery
from core.report.pictures import grid, save_png, square_columns, to_pil

NUM_SAMPLES = 64
"""Samples if not asked otherwise."""
NUM_PER_CAPTION = 8
"""Samples of each caption if not asked otherwise."""


def read_captions(path: Path) -> list[str]:
    """Captions of a text file, one a line; blank lines do not count.

    Raises:
        UserError: The file cannot be read or is empty.
    """
    captions = [line for _, line in read_lines(path, f"--texts {path}")]
    if not captions:
        raise UserError(f"--texts {path}: holds no captions; give one a line")
    return captions


def read_noise(path: Path, noise_dim: int) -> Tensor:
    """Read noise [N, noise_dim], float32, from a `.npy` file.

    Raises:
        UserError: The file cannot be read, or is of another shape or type.
    """
    noise = read_numbers(path)
    if noise.dim() != 2 or noise.shape[1] != noise_dim or not len(noise):
        raise UserError(
            f"{path}: of shape {list(noise.shape)}, but this model takes [N, {noise_dim}], one row "
            "an image and at least one"
        )
    return noise


def write_samples(
    sampler: Sampler,
    folder: Path,
    title: str,
    *,
    num: int | None = None,
    seed: int = 0,
    captions: Sequence[str] = (),
    noise: Tensor | None = None,
) -> Path:
    """Write `images/*.png`, `grid.png` and `index.html`; every caption gets the same noise.

    Args:
        sampler: what draws.
        folder: where to.
        title: of the page.
        num: samples, of each caption if there are any; default 64, or 8 of each.
        seed: of the noise.
        captions: what to draw; needed where the model has a vocabulary.
        noise: [N, noise_dim] to use instead of random noise.

    Returns:
        The page.

    Raises:
        UserError: As `Sampler`; a number below 1; a file that cannot be written.
    """
    if num is None:
        num = NUM_PER_CAPTION if captions else NUM_SAMPLES
    if num < 1:
        raise UserError(f"--num {num}: at least 1")
    if noise is None:
        noise = sampler.family.random_noise(num, torch.Generator().manual_seed(seed))
    labels = list(dict.fromkeys(captions))
    repeated = [label for label in labels for _ in noise]
    images = sampler(noise.repeat(max(1, len(labels)), 1), repeated)
    if labels:
        columns = dict(zip(labels, images.split(len(noise)), strict=True))
    else:
        columns = square_columns(images)
    width = len(noise) if labels else len(columns)
    save_png(grid(columns, max_rows=len(noise), labels=bool(labels)), folder / "grid.png")
    rows = []
    for row, of_row in enumerate(images.split(width)):
        slug = "_" + re.sub(r"[^a-z0-9]+", "_", labels[row].lower()) if labels else ""
        first = row * width
        paths: dict[str, str] = {}
        for i, image in enumerate(of_row):
            path = f"images/{first + i:04d}{slug}.png"
            save_png(to_pil(image), folder / path)
            # Of captions the same number is the same noise; else each sample has its own.
            paths[str(i if labels else first + i)] = path
        rows.append((labels[row] if labels else f"from {first}", paths))
    write_test_gallery(folder / "index.html", title, rows, sampler.origin)
    return folder / "index.html"
