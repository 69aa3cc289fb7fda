"""Samples of a generative checkpoint as pictures, a grid and a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from core.data.lines import read_lines
from core.errors import UserError
from core.inference.latent import read_vectors
from core.inference.sampler import Sampler
from core.jobs.latent import random_noise
from core.report.gallery import write_test_gallery
from core.report.pictures import grid, save_png, square_columns, to_pil

NUM_SAMPLES = 64
"""Samples if not asked otherwise."""
NUM_PER_CAPTION = 8
"""Samples of each caption if not asked otherwise."""


def read_captions(path: Path) -> list[str]:
    """Read the captions of a text file, one a line; blank lines do not count.

    Raises:
        UserError: the file cannot be read or is empty.
    """
    captions = [line for _, line in read_lines(path, f"--texts {path}")]
    if not captions:
        raise UserError(f"--texts {path}: holds no captions; give one a line")
    return captions


def read_noise(path: Path, noise_dim: int) -> Tensor:
    """Read noise [N, noise_dim], or [noise_dim] for one image; errors as `read_vectors`."""
    expected = f"this model takes [N, {noise_dim}], one row an image and at least one"
    return read_vectors(path, noise_dim, expected)


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
    """Write `images/*.png`, `grid.png` and a page with this title, `index.html`; return the page.

    Without `noise` [N, noise_dim], `num` random vectors are drawn: by default 64, or 8 where there
    are captions, which all get the same ones. A model with a vocabulary needs captions.

    Raises:
        UserError: as `Sampler`; a number below 1; a file that cannot be written.
    """
    if num is None:
        num = NUM_PER_CAPTION if captions else NUM_SAMPLES
    if noise is None:
        noise = random_noise(sampler, num, seed)
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
