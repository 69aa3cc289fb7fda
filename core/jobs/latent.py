"""What `scripts/latent.py` writes: samples with their noise, sums, paths, neighbours, attributes.

Every function draws with a `Sampler` and writes below one folder. Models with captions take one
caption for everything, or, along a path, one for each of its points.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from core.data.loader import build_loader
from core.errors import UserError
from core.family import to_float
from core.inference.latent import (
    Neighbour,
    PathKind,
    nearest,
    path_between,
    read_mean,
    read_noise,
    save_numbers,
)
from core.inference.sampler import Sampler
from core.report.pictures import (
    captioned,
    grid,
    save_gif,
    save_png,
    strip,
    table,
    to_pil,
    write_file,
)

FRAME_MILLISECONDS = 60


def random_noise(sampler: Sampler, num: int, seed: int) -> Tensor:
    """Draw noise [num, D], the same for the same seed."""
    if num < 1:
        raise UserError(f"--num {num}: at least 1")
    return sampler.family.random_noise(num, torch.Generator().manual_seed(seed))


def read_points(sampler: Sampler, files: Sequence[Path], num: int, seed: int) -> Tensor:
    """Read vectors [K, D] from files, or draw `num` random ones where there are none."""
    if not files:
        return random_noise(sampler, num, seed)
    return torch.stack([read_noise(file, sampler.family.noise_dim) for file in files])


def save_pairs(above: Tensor, below: Tensor, path: Path) -> None:
    """Write two batches of pictures [N, C, H, W], one above the other."""
    pairs = torch.stack([above, below], dim=1)
    columns = {str(column): pair for column, pair in enumerate(pairs)}
    save_png(grid(columns, max_rows=2, labels=False), path)


def write_samples(
    sampler: Sampler, folder: Path, num: int, seed: int, texts: Sequence[str]
) -> Path:
    """Write `0000.png` ..., the noise of each, `0000.npy` ..., and `grid.png` with their numbers.

    Returns the grid, as square as can be.

    Raises:
        UserError: noise of an earlier call is there, which these pictures belong to.
    """
    noise = random_noise(sampler, num, seed)
    images = sampler(noise, at_most_one(texts))
    if there := sorted(folder.glob("[0-9][0-9][0-9][0-9].npy")):
        raise UserError(f"{there[0]}: noise of earlier samples; give another --output")
    pictures = [to_pil(image) for image in images]
    for index, (picture, vector) in enumerate(zip(pictures, noise, strict=True)):
        save_png(picture, folder / f"{index:04d}.png")
        save_numbers(vector, folder / f"{index:04d}.npy")
    cells = [captioned(picture, str(index)) for index, picture in enumerate(pictures)]
    width = math.ceil(math.sqrt(num))
    save_png(table([cells[i : i + width] for i in range(0, num, width)]), folder / "grid.png")
    return folder / "grid.png"


def write_arithmetic(
    sampler: Sampler,
    folder: Path,
    files: tuple[Sequence[Path], Sequence[Path], Sequence[Path]],
    texts: Sequence[str],
) -> Path:
    """Write `arithmetic.png` (a, b, c, a - b + c) and `result.npy`; return the picture.

    After figure 7 of DCGAN: smiling woman - woman + man, each the mean of its files.
    """
    a, b, c = (read_mean(paths, sampler.family.noise_dim) for paths in files)
    result = a - b + c
    images = sampler(torch.stack([a, b, c, result]), at_most_one(texts))
    columns = dict(zip(("a", "b", "c", "a - b + c"), images[:, None], strict=True))
    save_png(grid(columns, max_rows=1), folder / "arithmetic.png")
    save_numbers(result, folder / "result.npy")
    return folder / "arithmetic.png"


def write_path(
    sampler: Sampler,
    folder: Path,
    points: Tensor,
    kinds: Sequence[PathKind],
    texts: Sequence[str],
    *,
    frames: int,
    closed: bool = False,
) -> list[Path]:
    """Write `<kind>.png`, a strip, and `<kind>.gif` of the way through points [K, D].

    Each leg from one point to the next has `frames` pictures. Of `texts` there is none, one for the
    whole way, or one for each point, between which conditions change evenly. A closed way comes
    back to the first point, so that the GIF loops without a jump, and has no strip.

    Raises:
        UserError: fewer than two points or frames, or a wrong number of captions.
    """
    if len(points) < 2:
        raise UserError(f"a path needs at least two points, got {len(points)}")
    if frames < 2:
        raise UserError(f"--frames {frames}: at least 2")
    conditions = sampler.conditions(texts, len(points))
    given = None if conditions is None else _way(conditions, frames, "linear", closed)
    written = []
    for kind in kinds:
        pictures = [to_pil(x) for x in sampler.draw(_way(points, frames, kind, closed), given)]
        if not closed:
            save_png(strip(pictures), folder / f"{kind}.png")
            written.append(folder / f"{kind}.png")
        save_gif(pictures, folder / f"{kind}.gif", FRAME_MILLISECONDS)
        written.append(folder / f"{kind}.gif")
    return written


def _way(points: Tensor, frames: int, kind: PathKind, closed: bool) -> Tensor:
    """Go from point to point [K, D], and back to the first if `closed`."""
    if closed:
        points = torch.cat([points, points[:1]])
    legs = [path_between(a, b, frames, kind) for a, b in pairwise(points)]
    # The end of a leg is the beginning of the next; a closed way has no end at all.
    way = torch.cat([leg[:-1] for leg in legs])
    return way if closed else torch.cat([way, legs[-1][-1:]])


def write_nearest(
    sampler: Sampler, folder: Path, noise: Tensor, texts: Sequence[str], root: str | None
) -> list[Neighbour]:
    """Write `nearest.png`, samples of noise [N, D] above their nearest training images.

    `nearest.json` has their names and distances. Training images lie in `root`, or where the run
    had them.
    """
    config = sampler.family.config
    changes = {"cache": "none", "num_workers": 0, "serial": True}
    data = config.data.model_copy(update=changes | ({"root": root} if root else {}))
    options = {"layout": "single", "split": "train", "channels": config.channels}
    loader = build_loader(data, **options, batch_size=1, seed=0, augment=False)
    images = sampler(noise, at_most_one(texts))
    batches = (next(loader) for _ in tqdm(range(loader.batches_per_epoch), desc="compare"))
    found = nearest(images, (column for batch in batches for column in batch.columns().values()))
    save_pairs(images, to_float(torch.stack([one.image for one in found])), folder / "nearest.png")
    report = [{"name": one.name, "distance": one.distance} for one in found]
    text = json.dumps(report, indent=1).encode()
    write_file(folder / "nearest.json", lambda file: file.write(text))
    return found


def at_most_one(texts: Sequence[str]) -> Sequence[str]:
    """Refuse several captions where there is one for everything."""
    if len(texts) > 1:
        raise UserError(f"--text given {len(texts)} times; only a path takes several")
    return texts
