from __future__ import annotations

import pytest
import torch

from core.evaluation.metrics.color_inversion import ALARM_BELOW, color_inversion


def test_copy_inversion_and_noise() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    assert color_inversion(x, x) == pytest.approx(torch.ones(4).numpy())
    assert color_inversion(x, -x) == pytest.approx(-torch.ones(4).numpy())
    assert (color_inversion(x, torch.rand_like(x)).abs() < 0.15).all()


def test_scale_offset_and_channels_do_not_matter() -> None:
    x = torch.rand(2, 3, 8, 8)
    gray = torch.einsum("nchw,c->nhw", x, torch.tensor([0.299, 0.587, 0.114])).unsqueeze(1)
    negative = (255 - (gray * 200)).to(torch.uint8)
    assert (color_inversion(x, negative) < -0.99).all()
    assert color_inversion(x, negative).mean() < ALARM_BELOW


def test_flat_images_raise_no_alarm() -> None:
    x = torch.rand(2, 3, 64, 64)
    assert (color_inversion(x, torch.full_like(x, 0.3)) == 0).all()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="color_inversion"):
        color_inversion(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
