from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.evaluation.metrics.color_inversion import color_inversion
from core.evaluation.metrics.edge_correlation import edge_correlation


def blobs(seed: int, channels: int = 3) -> Tensor:
    """Two smooth random pictures."""
    noise = torch.rand(2, channels, 9, 12, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (36, 48), mode="bicubic")


def test_sees_where_and_not_which_colour() -> None:
    x = blobs(0)
    one = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(edge_correlation(x, x), one)
    torch.testing.assert_close(edge_correlation(x, 0.3 * x + 0.2), one)
    # The negative keeps its edges, and is what the other score is for.
    torch.testing.assert_close(edge_correlation(x, 1 - x), one)
    torch.testing.assert_close(color_inversion(x, 1 - x), -one)


def test_falls_with_the_content() -> None:
    x = blobs(0)
    recoloured = x**2
    shifted = x.roll(8, dims=3)
    unrelated = blobs(1)
    scores = [edge_correlation(x, y).mean() for y in (recoloured, shifted, unrelated)]
    assert scores[0] > 0.8 > 0.5 > scores[1]
    assert abs(scores[2]) < 0.3
    stripes = x + 0.1 * (torch.arange(48) % 2)
    assert scores[2] + 0.2 < edge_correlation(x, stripes).mean() < 1


def test_flat_images_channels_and_errors() -> None:
    x = blobs(0)
    assert torch.equal(edge_correlation(x, torch.zeros_like(x)), torch.zeros(2).double())
    assert edge_correlation(x, x.mean(dim=1, keepdim=True)).shape == (2,)
    with pytest.raises(ValueError, match="12 px"):
        edge_correlation(x[..., :11], x[..., :11])
    with pytest.raises(ValueError, match="equal N, H, W"):
        edge_correlation(x, x[:1])
