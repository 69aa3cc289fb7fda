from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from core.evaluation.metrics.ssim import ssim


def reference(x: np.ndarray, y: np.ndarray, data_range: float) -> list[float]:
    return [
        structural_similarity(
            a,
            b,
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
        )
        for a, b in zip(x, y, strict=True)
    ]


@pytest.mark.parametrize("data_range", [1.0, 255.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_skimage(data_range: float, channels: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((3, channels, 19, 23))
    y = np.clip(x + 0.3 * rng.standard_normal(x.shape), 0, 1)
    x, y = x * data_range, y * data_range
    ours = ssim(torch.from_numpy(x), torch.from_numpy(y), data_range)
    np.testing.assert_allclose(ours, reference(x, y, data_range), atol=1e-6, rtol=0)


def test_equals_skimage_on_flat_and_uint8_images() -> None:
    x = np.full((2, 3, 16, 16), 250, dtype=np.uint8)
    y = x.copy()
    y[1] = np.random.default_rng(0).integers(0, 256, y[1].shape)
    ours = ssim(torch.from_numpy(x), torch.from_numpy(y), 255)
    np.testing.assert_allclose(ours, reference(x.astype(float), y.astype(float), 255), atol=1e-6)
    assert ours[0].item() == pytest.approx(1.0)


def test_bounds_and_errors() -> None:
    x = torch.rand(2, 3, 16, 16)
    assert torch.allclose(ssim(x, x), torch.ones(2, dtype=torch.float64))
    assert (ssim(x, 1 - x) < 0).all()
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(x[..., :10], x[..., :10])
    with pytest.raises(ValueError, match="equal shapes"):
        ssim(x, x[:1])
