"""Blocks and networks of MUNIT: what the reference cases do not reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.upsampling import DoubledConv2d
from munit.blocks import InstanceNorm, LayerNorm, SpectralConv2d
from munit.config import AdaINGenOptions, DisOptions
from munit.networks import AdaINGen, MsImageDis


def gradients(output: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape).sin()
    return torch.autograd.grad((output * weights).sum(), inputs)


def published_doubling(conv: DoubledConv2d, x: Tensor) -> Tensor:
    return nn.Conv2d.forward(conv, F.interpolate(x, scale_factor=2.0))


def test_layer_norm_is_the_published_one() -> None:
    torch.manual_seed(0)
    norm, x = LayerNorm(3).double(), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    nn.init.normal_(norm.beta)
    mean, std = x.flatten(1).mean(1), x.flatten(1).std(1)
    plain = (x - mean[:, None, None, None]) / (std[:, None, None, None] + 1e-5)
    expected = plain * norm.gamma[:, None, None] + norm.beta[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_instance_norm_is_the_published_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) * 1e-4 + 3
    published, ours = F.instance_norm(x), InstanceNorm()(x)
    torch.testing.assert_close(ours, published)
    torch.testing.assert_close(gradients(ours, [x]), gradients(published, [x]))


@pytest.mark.parametrize("norm", [InstanceNorm(), LayerNorm(2)], ids=["instance", "layer"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_of_a_constant(norm: Any, dtype: torch.dtype) -> None:
    x = torch.full((1, 2, 4, 4), 0.7, dtype=dtype, requires_grad=True)
    y = norm(x)
    assert y.dtype == dtype
    (gradient,) = torch.autograd.grad(y.sum() + (y * y.detach().cos()).sum(), x)
    assert y.isfinite().all() and gradient.isfinite().all()
    if isinstance(norm, InstanceNorm):
        assert not gradient.any() and not y.any()


def test_instance_norm_of_rounding_noise_passes_no_gradient() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 8, 8) * 5e-7
    x = (5 * (1 + noise * 0.1)).requires_grad_()
    assert len(x.unique()) > 1
    (gradient,) = torch.autograd.grad(InstanceNorm()(x)[0, 0, 0, 0], x)
    assert not gradient.any()


def test_spectral_norm_converges_in_every_mode() -> None:
    torch.manual_seed(0)
    conv, x = SpectralConv2d(3, 5, 4, stride=2).eval(), torch.randn(1, 3, 8, 8)
    for _ in range(200):
        conv(x)
    largest = torch.linalg.matrix_norm(conv.weight_bar.flatten(1), 2)
    expected = F.conv2d(x, conv.weight_bar / largest, conv.bias, 2)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_spectral_norm_of_two_forwards_before_a_backward() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 4, 3, stride=1)
    (conv(torch.randn(1, 3, 5, 5)) + conv(torch.randn(1, 3, 5, 5))).sum().backward()
    assert conv.weight_bar.grad is not None and conv.weight_bar.grad.any()


@pytest.mark.parametrize(
    ("n_layer", "num_scales", "side"), [(4, 3, 61), (2, 2, 7), (3, 1, 8), (1, 3, 5)]
)
def test_minimum_of_the_discriminator(n_layer: int, num_scales: int, side: int) -> None:
    dis = MsImageDis(3, DisOptions(dim=2, n_layer=n_layer, num_scales=num_scales))
    assert dis.minimum == side
    dis(torch.zeros(1, 3, side, side))
    with pytest.raises(RuntimeError):
        dis(torch.zeros(1, 3, side - 1, side - 1))


def test_initial_weights_are_the_published_ones() -> None:
    torch.manual_seed(0)
    gen, dis = AdaINGen(3, AdaINGenOptions(dim=32)), MsImageDis(3, DisOptions(dim=32, norm="sn"))
    for module in gen.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert not module.bias.any()
            if module.weight.numel() > 5000:
                expected = (2 / module.weight[0].numel()) ** 0.5
                assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
    for name, module in dis.named_modules():
        if isinstance(module, nn.Conv2d) and name.endswith("0.0.conv"):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        if isinstance(module, SpectralConv2d):  # not reached by the published initialisation
            assert module.bias.any()
    for module in gen.modules():
        if isinstance(module, LayerNorm):
            assert module.gamma.min() >= 0 and module.gamma.max() < 1 and not module.beta.any()


@pytest.mark.parametrize("activ", ["relu", "lrelu", "prelu", "selu", "tanh"])
@pytest.mark.parametrize("pad_type", ["reflect", "replicate", "zero"])
def test_every_option_trains_and_folding_changes_nothing(
    activ: Any, pad_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = AdaINGenOptions(dim=2, mlp_dim=4, n_res=1, activ=activ, pad_type=pad_type)
    outputs = []
    for folded in (True, False):
        torch.manual_seed(0)
        gen = AdaINGen(3, options).double()
        if not folded:
            monkeypatch.setattr(DoubledConv2d, "forward", published_doubling)
        x = torch.rand(2, 3, 16, 24, dtype=torch.float64, requires_grad=True)
        y = gen(x)
        y.square().sum().backward()
        assert x.grad is not None
        outputs.append((y, x.grad, *(p.grad for p in gen.parameters())))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("norm", ["none", "bn", "in", "ln", "sn"])
def test_every_norm_of_the_discriminator(norm: Any) -> None:
    dis = MsImageDis(1, DisOptions(dim=2, n_layer=2, num_scales=2, norm=norm))
    scores = dis(torch.rand(2, 1, 16, 12))
    assert [tuple(s.shape) for s in scores] == [(2, 1, 4, 3), (2, 1, 2, 1)]
    torch.stack([s.sum() for s in scores]).sum().backward()
    assert all(p.grad is not None for p in dis.parameters())


def test_recomputing_residual_blocks_changes_nothing() -> None:
    options, results = AdaINGenOptions(dim=2, mlp_dim=4, n_res=2), []
    for recompute in (True, False):
        torch.manual_seed(0)
        gen = AdaINGen(3, options, recompute=recompute)
        gen(torch.rand(1, 3, 16, 16)).square().sum().backward()
        results.append([p.grad for p in gen.parameters()])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_compiling_reaches_every_part() -> None:
    gen = AdaINGen(3, AdaINGenOptions(dim=2, mlp_dim=4, n_res=1))
    keys = list(gen.state_dict())
    gen.compile()
    assert all(part._compiled_call_impl is not None for part in gen.children())
    assert list(gen.state_dict()) == keys
