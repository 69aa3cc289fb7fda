from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from core.evaluation.metrics.ssim import MULTI_SCALE_MINIMUM, ms_ssim, ssim

REASON = "pip install -e '.[metrics]'"


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


@pytest.mark.parametrize("size", [(161, 170), (192, 163)])
def test_multi_scale_equals_pytorch_msssim(size: tuple[int, int]) -> None:
    theirs = pytest.importorskip("pytorch_msssim", reason=REASON)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)
    y = (x + 0.2 * torch.randn(x.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    y[1] = 1 - x[1]  # structure below 0 counts as 0
    expected = theirs.ms_ssim(x, y, data_range=1.0, size_average=False)
    torch.testing.assert_close(ms_ssim(x, y), expected, rtol=1e-6, atol=1e-8)
    assert torch.allclose(ms_ssim(x, x), torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match=f"at least {MULTI_SCALE_MINIMUM} px"):
        ms_ssim(x[..., :160], y[..., :160])


def test_windows_of_other_packages_differ() -> None:
    """scikit-image's default is a box; torchmetrics also counts a border that it reflects."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 64, 40, generator=generator, dtype=torch.float64)
    y = (x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    ours = float(ssim(x, y))
    box = structural_similarity(x[0].numpy(), y[0].numpy(), data_range=1.0, channel_axis=0)
    assert abs(ours - box) > 1e-3
    metrics = pytest.importorskip("torchmetrics.functional.image", reason=REASON)
    whole, places = metrics.structural_similarity_index_measure(
        x, y, data_range=1.0, return_full_image=True
    )
    assert ours == pytest.approx(float(places[..., 5:-5, 5:-5].mean()), abs=1e-6)
    assert abs(ours - float(whole)) > 1e-4


def test_multi_scale_is_nearly_piqs() -> None:
    """It computes in float32."""
    theirs = pytest.importorskip("piq", reason=REASON)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 192, 192, generator=generator)
    y = (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    expected = float(theirs.multi_scale_ssim(x, y, data_range=1.0))
    assert float(ms_ssim(x, y).mean()) == pytest.approx(expected, abs=1e-4)
