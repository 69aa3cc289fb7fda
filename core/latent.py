"""Moving about in a generator's noise space: vectors on disk, paths, arithmetic, memorising.

Noise is float32 [N, D]; `Draw` is whatever makes images from it (`core.sampler` for a checkpoint).
On disk a vector is a `.npy` file of shape [D] or [1, D].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError
from core.family import to_float
from core.pictures import write_file

Draw = Callable[[Tensor], Tensor]
"""Noise [N, D] to images [N, C, H, W] in [-1, 1]."""

PathKind = Literal["linear", "spherical"]


def save_noise(noise: Tensor, path: Path) -> None:
    """Write one vector [D] as float32."""
    array = noise.detach().cpu().float().numpy()
    write_file(path, lambda file: np.save(file, array, allow_pickle=False))


def read_noise(path: Path, noise_dim: int) -> Tensor:
    """One vector [noise_dim], float32, of a `.npy` file.

    Raises:
        UserError: not such a file, of another length, or with values that are not finite.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'not a .npy file'}") from None
    except (ValueError, EOFError):
        raise UserError(f"{path}: not a .npy file of plain numbers") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{path}: holds several arrays; give a .npy file of one noise vector")
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: holds {array.dtype}, expected {noise_dim} real numbers")
    vector = torch.from_numpy(array.astype(np.float32))
    if vector.shape not in ((noise_dim,), (1, noise_dim)):
        raise UserError(
            f"{path}: shape {list(vector.shape)}, but this generator's noise is [{noise_dim}]; "
            "was it saved with another checkpoint?"
        )
    if not bool(torch.isfinite(vector).all()):
        raise UserError(f"{path}: holds values that are not finite")
    return vector.reshape(noise_dim)


def read_mean(paths: Sequence[Path], noise_dim: int) -> Tensor:
    """Mean [noise_dim] of the vectors of some files.

    Radford et al. 2016 (DCGAN, figure 7) take the mean of three samples for each concept: single
    ones were unstable.
    """
    return torch.stack([read_noise(path, noise_dim) for path in paths]).mean(dim=0)


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Along the great circle from `start` to `end` (White 2016, "Sampling generative networks").

    Noise of high dimension lies near a sphere, and a straight line would cut through its empty
    inside. The length changes evenly from that of `start` to that of `end`. Where the directions
    are equal or opposite no circle is singled out, and the straight line is taken.

    Args:
        start: [D].
        end: [D].
        share: [K], 0 at the start and 1 at the end.

    Returns:
        [K, D].
    """
    a, b = start.double(), end.double()
    t = share.double()[:, None]
    from_length, to_length = a.norm(), b.norm()
    lengths = from_length * to_length
    angle = torch.acos((torch.dot(a, b) / lengths).clamp(-1, 1))
    if lengths == 0 or angle.sin() < 1e-6:
        return lerp(start, end, share)
    unit = torch.sin((1 - t) * angle) * a / from_length + torch.sin(t * angle) * b / to_length
    length = (1 - t) * from_length + t * to_length
    return (length * unit / angle.sin()).to(start.dtype)


def lerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Along the straight line; arguments and result as `slerp`."""
    t = share.to(start.dtype)[:, None]
    return (1 - t) * start + t * end


def path_between(start: Tensor, end: Tensor, num: int, kind: PathKind) -> Tensor:
    """`num` >= 2 vectors from `start` [D] to `end` [D], both included, [num, D]."""
    share = torch.linspace(0, 1, num)
    return slerp(start, end, share) if kind == "spherical" else lerp(start, end, share)


def walk(points: Tensor, num_between: int, kind: PathKind = "spherical") -> Tensor:
    """A closed tour of points [K, D], K >= 2, that a GIF can loop: [K * num_between, D].

    Each leg has `num_between` vectors and leaves out its end, which the next leg begins with.
    """
    tour = [*points, points[0]]
    legs = [path_between(a, b, num_between + 1, kind)[:-1] for a, b in pairwise(tour)]
    return torch.cat(legs)


def arithmetic(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """A - b + c of vectors [D] (DCGAN, figure 7): smiling woman - woman + man."""
    return a - b + c


@dataclass(frozen=True)
class Neighbour:
    """The training image nearest to a sample.

    Attributes:
        path: its file.
        distance: root mean square difference over pixels and channels, in grey levels 0..255.
    """

    path: Path
    distance: float


def nearest(
    images: Tensor,
    files: Sequence[Path],
    read: Callable[[Path], NDArray[np.uint8]],
    progress: Callable[[Sequence[Path]], Any] = lambda files: files,
) -> list[Neighbour]:
    """For each image the nearest of many files, to see whether a generator memorises.

    Plain pixel distances find copies, not likeness: a shifted copy is far away.

    Args:
        images: [N, C, H, W] in [-1, 1].
        files: the training images.
        read: a file's picture as the networks see it, [H, W, C] uint8.
        progress: wraps the iteration over files, e.g. a progress bar.

    Returns:
        One neighbour per image.

    Raises:
        UserError: there are no files.
    """
    if not files:
        raise UserError("no training images to compare with")
    flat = images.double().flatten(1)
    best = torch.full((len(images),), torch.inf, dtype=torch.float64)
    which = torch.zeros(len(images), dtype=torch.long)
    for index, file in enumerate(progress(files)):
        pixels = torch.from_numpy(np.ascontiguousarray(read(file).transpose(2, 0, 1)))
        distance = (flat - to_float(pixels).double().flatten()).square().mean(dim=1)
        closer = distance < best
        best[closer], which[closer] = distance[closer], index
    return [
        Neighbour(files[index], 127.5 * mean_square**0.5)
        for index, mean_square in zip(which.tolist(), best.tolist(), strict=True)
    ]
