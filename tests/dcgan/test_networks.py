"""The stacks of DCGAN beyond the reference cases: sizes, initial weights, layouts, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.errors import UserError
from core.nn.dcgan import (
    DcganDiscriminator,
    DcganGenerator,
    DcganNorm,
    dis_channels,
    gen_channels,
)
from core.nn.init import init_weights


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("condition_dim", [0, 7])
def test_sizes(size: int, condition_dim: int) -> None:
    options = {"condition_dim": condition_dim, "projection_dim": 5}
    G = DcganGenerator(9, gen_channels(2, size), 1, **options)
    D = DcganDiscriminator(dis_channels(2, size), 1, **options)
    conditions = torch.rand(3, condition_dim) if condition_dim else None
    images = G(torch.randn(3, 9), conditions)
    assert images.shape == (3, 1, size, size)
    assert images.abs().max() <= 1
    assert D(images, conditions).shape == (3,)


@pytest.mark.parametrize("size", [0, 8, 48, 65, 100])
def test_impossible_sizes(size: int) -> None:
    with pytest.raises(UserError, match=rf"images of {size} px: .* 16, 32, 64, 128"):
        gen_channels(64, size)


def test_lists_of_widths() -> None:
    assert gen_channels((24, 12, 6), 64) == gen_channels(6, 64) == (48, 24, 12, 6)
    assert dis_channels((6, 12, 24, 48), 64) == dis_channels(6, 64)
    assert gen_channels((30, 10, 7), 64) == (60, 30, 10, 7)
    with pytest.raises(UserError, match=r"model\.ngf = \[24, 12\]: 2 widths, .* 64 px take 3"):
        gen_channels((24, 12), 64)
    with pytest.raises(UserError, match=r"model\.ndf = \[1, 2, 3, 4\]: 4 widths, .* 32 px take 3"):
        dis_channels((1, 2, 3, 4), 32)


def test_published_initial_weights() -> None:
    torch.manual_seed(0)
    for network in (
        DcganGenerator(100, gen_channels(32, 64), condition_dim=8),
        DcganDiscriminator(dis_channels(32, 64), condition_dim=8),
    ):
        init_weights(network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                assert module.bias is None
                sigma = 0.02 / module.weight.numel() ** 0.5
                assert abs(module.weight.mean()) < 5 * sigma
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.08)
            elif isinstance(module, nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1.0, abs=0.02)
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.5)
                assert module.bias.abs().max() == 0
            elif isinstance(module, nn.Linear):  # the framework's default: 1 / sqrt(8)
                assert 0.3 < module.weight.abs().max() < 8**-0.5


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_norms(norm: DcganNorm) -> None:
    """Layer norm and none leave samples to themselves; batch norm does not."""
    torch.manual_seed(0)
    D = DcganDiscriminator(dis_channels(4, 32), norm=norm, condition_dim=3).double()
    images, conditions = torch.randn(4, 3, 32, 32).double(), torch.rand(4, 3).double()
    together = D(images, conditions)
    apart = torch.cat([D(images[i : i + 2], conditions[i : i + 2]) for i in (0, 2)])
    assert torch.allclose(together, apart) == (norm != "batch")


def test_slopes_and_outputs() -> None:
    G = DcganGenerator(4, gen_channels(4, 16), slope=0.0, output="sigmoid")
    kinds = [type(layer) for layer in G.main]
    assert kinds.count(nn.ReLU) == 2 and kinds[-1] is nn.Sigmoid
    D = DcganDiscriminator(dis_channels(4, 16), slope=0.3)
    assert [m.negative_slope for m in D.main if isinstance(m, nn.LeakyReLU)] == [0.3, 0.3]
    images = G(torch.randn(2, 4))
    assert images.min() >= 0 and images.max() <= 1


def test_layout_and_half_precision_change_little() -> None:
    torch.manual_seed(0)
    G = DcganGenerator(16, gen_channels(8, 32), condition_dim=3)
    D = DcganDiscriminator(dis_channels(8, 32), condition_dim=3)
    noise, conditions = torch.randn(8, 16), torch.rand(8, 3)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        fake = G(noise, conditions)
        return fake, D(fake, conditions)

    plain = run()
    for network in (G, D):
        network.to(memory_format=torch.channels_last)
    for one, other in zip(plain, run(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = run()
    for one, other in zip(plain, half, strict=True):
        assert (one - other.float()).norm() < 0.05 * one.norm()
