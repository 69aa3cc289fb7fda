from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from core.evaluation.metrics.psnr import psnr


@pytest.mark.parametrize("data_range", [1.0, 2.0, 255.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_skimage(data_range: float, channels: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, channels, 19, 23), dtype=np.float32) * data_range
    ours = psnr(torch.from_numpy(x), torch.from_numpy(y), data_range)
    theirs = [
        peak_signal_noise_ratio(a, b, data_range=data_range) for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)


def test_uint8_does_not_wrap_around() -> None:
    x = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert psnr(x, x + 255, 255).item() == pytest.approx(0.0)


def test_equal_images_are_infinitely_close() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert psnr(x, x).isinf().all()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="psnr"):
        psnr(torch.rand(1, 3, 4, 4), torch.rand(2, 3, 4, 4))
