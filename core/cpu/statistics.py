"""Mean and variance of images in channels_last, read once."""

from __future__ import annotations

import torch
from torch import Tensor

_PIECE_VALUES = 1 << 17
"""What is taken at once: 512 kB of float32 stay in a core's own cache between the passes."""
_PIECE_PIXELS = 2048
"""At most: a product adds up one after the other, so its rounding grows with the number."""

_LARGE = 1 << 19
"""Values of an image from which on pieces pay."""


def statistics(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of x [N, C, H, W] over (2, 3) or (1, 2, 3), dims kept."""
    if x[0].numel() < _LARGE:
        mean = x.mean(dims, keepdim=True)
        y = x - mean
        return mean, torch.square(y, out=y).mean(dims, keepdim=True)
    mean, var = moments(x)
    if 1 in dims:
        of_channels, mean = mean, mean.mean(1, keepdim=True)
        between = (of_channels - mean).square_()
        var = var.add_(between).mean(1, keepdim=True)
    return mean, var


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over height and width of x [N, C, H, W] in channels_last.

    Both are [N, C, 1, 1]. Pieces of the image are centred by their own means, and put together by
    Chan, Golub and LeVeque (1979): as exact as going over the image twice, which is what memory
    has no time for.
    """
    found = [_of_rows(rows) for rows in x.permute(0, 2, 3, 1).flatten(1, 2)]
    mean, var = (torch.stack(each)[:, :, None, None] for each in zip(*found, strict=True))
    return mean, var


def _of_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [C] and biased variance [C] of rows [P, C], by products with ones."""
    number, channels = rows.shape
    size = max(1, min(_PIECE_PIXELS, _PIECE_VALUES // channels, number))
    ones, scratch = rows.new_ones(size), rows.new_empty(size, channels)
    means, squares, weights = [], [], []
    for piece in rows.split(size):
        pixels = len(piece)
        mean = torch.mv(piece.T, ones[:pixels]).div_(pixels)
        centred = torch.sub(piece, mean, out=scratch[:pixels])
        squares.append(torch.mv(centred.square_().T, ones[:pixels]))
        means.append(mean)
        weights.append(pixels)
    of_pieces = torch.stack(means)
    weight = rows.new_tensor(weights) / number
    mean = weight @ of_pieces
    between = weight @ (of_pieces - mean).square_()
    return mean, torch.stack(squares).sum(0).div_(number).add_(between)
