"""Moving about in a generator's noise space: vectors on disk, paths, arithmetic, memorising.

Noise is float32 [N, D]; on disk a vector is a `.npy` file of shape [D] or [1, D].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.family import to_float
from core.runtime.files import write_file

PathKind = Literal["linear", "spherical"]

_EXACT = "donot_use_mm_for_euclid_dist"
"""The fast way has no distance zero: it takes the difference of large squares."""


def save_numbers(numbers: Tensor, path: Path) -> None:
    """Write a tensor as a float32 `.npy` file that `read_numbers` takes back."""
    array = numbers.detach().cpu().float().numpy()
    write_file(path, lambda file: np.save(file, array, allow_pickle=False))


def read_numbers(path: Path) -> Tensor:
    """Read the array of a `.npy` file, float32.

    Raises:
        UserError: not such a file, or not one of finite real numbers.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy raises a different type for every kind of damage
        reason = getattr(error, "strerror", None) or "not a .npy file of plain numbers"
        raise UserError(f"{path}: {reason}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{path}: holds several arrays; give a .npy file of one")
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: holds {array.dtype}, expected real numbers")
    numbers = torch.from_numpy(array.astype(np.float32))
    if not bool(torch.isfinite(numbers).all()):
        raise UserError(f"{path}: holds values that are not finite")
    return numbers


def read_vectors(path: Path, length: int, expected: str, most: int | None = None) -> Tensor:
    """Read vectors [N, length], float32, from a `.npy` file; a single one may be [length].

    There must be one at least and `most` at most; `expected` ends the error line.

    Raises:
        UserError: as `read_numbers`, or of another shape.
    """
    numbers = read_numbers(path)
    vectors = torch.atleast_2d(numbers)
    if vectors.shape[1:] != (length,) or not 1 <= len(vectors) <= (most or len(vectors)):
        raise UserError(f"{path}: shape {list(numbers.shape)}, but {expected}")
    return vectors


def read_noise(path: Path, noise_dim: int) -> Tensor:
    """Read one vector [noise_dim]; errors as `read_vectors`."""
    expected = f"this generator's noise is [{noise_dim}]; was it saved with another checkpoint?"
    return read_vectors(path, noise_dim, expected, most=1)[0]


def read_mean(paths: Sequence[Path], noise_dim: int) -> Tensor:
    """Return the mean [noise_dim] of the vectors of some files.

    Radford et al. 2016 (DCGAN, figure 7) take the mean of three samples for each concept: single
    ones were unstable.
    """
    return torch.stack([read_noise(path, noise_dim) for path in paths]).mean(dim=0)


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Go along the great circle between two vectors (White 2016, "Sampling generative networks").

    Noise of high dimension lies near a sphere, and a straight line would cut through its empty
    inside. The length changes evenly from that of `start` to that of `end`. Where the directions
    are equal or opposite no circle is singled out, and the straight line is taken.

    `start` and `end` are [D], `share` is [K] from 0 at the start to 1 at the end; gives [K, D].
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
    """Go along the straight line; arguments and result as `slerp`."""
    t = share.to(start.dtype)[:, None]
    return (1 - t) * start + t * end


def path_between(start: Tensor, end: Tensor, num: int, kind: PathKind) -> Tensor:
    """Return `num` >= 2 vectors [num, D] from `start` [D] to `end` [D], both included."""
    share = torch.linspace(0, 1, num)
    return slerp(start, end, share) if kind == "spherical" else lerp(start, end, share)


class Neighbour(NamedTuple):
    """The training image nearest to a sample: its file name and its pixels [C, H, W], uint8."""

    name: str
    image: Tensor
    distance: float
    """Root mean square difference over pixels and channels, in grey levels 0..255."""


def nearest(images: Tensor, training: Iterable[tuple[Tensor, Sequence[str]]]) -> list[Neighbour]:
    """Find the training image nearest to each image, to see whether a generator memorises.

    Plain pixel distances find copies, not likeness: a shifted copy is far away. Images are
    [N, C, H, W] in [-1, 1]; training images come in batches [M, C, H, W], uint8, with their names.

    Raises:
        UserError: there are no training images.
    """
    samples = images.double().flatten(1)
    root = samples.shape[1] ** 0.5
    best = torch.full((len(images),), torch.inf, dtype=torch.float64)
    found: dict[int, Neighbour] = {}
    for batch, names in training:
        pixels = to_float(batch).double().flatten(1)
        distances, which = (torch.cdist(samples, pixels, compute_mode=_EXACT) / root).min(dim=1)
        for index in (distances < best).nonzero().flatten().tolist():
            place, distance = int(which[index]), 127.5 * float(distances[index])
            found[index] = Neighbour(names[place], batch[place], distance)
        best = torch.minimum(best, distances)
    if len(found) < len(images):
        raise UserError("no training images to compare with")
    return [found[index] for index in range(len(images))]
