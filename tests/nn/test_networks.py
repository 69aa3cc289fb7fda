"""Shapes, names, initial weights and modes of the networks that families share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.checkpoints.official_layout import load_official, official_names, to_official
from core.errors import UserError
from core.nn.discriminators import PatchDiscriminator, PixelDiscriminator
from core.nn.factory import NetworkOptions, make_discriminator, make_generator
from core.nn.init import init_weights
from core.nn.modes import evaluating, published_test_mode
from core.nn.norms import BatchNorm2d
from core.nn.padding import reflection_pad, replication_pad
from core.nn.resnet import ResnetGenerator
from core.nn.unet import UnetGenerator

NORMS = ["instance", "batch", "none"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def options(**changes: object) -> NetworkOptions:
    values: dict[str, object] = {
        "generator": "resnet_6blocks", "norm": "instance", "dropout": False,
        "ngf": 4, "ndf": 4,
    }  # fmt: skip
    return NetworkOptions.model_validate(values | changes)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("a", "b"), [(1, 3), (3, 1), (4, 4)])
@pytest.mark.parametrize("name", ["resnet_6blocks", "resnet_9blocks", "unet_128"])
def test_generator_shapes_and_range(name: str, a: int, b: int, norm: str) -> None:
    network = make_generator(options(generator=name, norm=norm), a, b)
    assert (network.minimum, network.multiple) == ((128, 128) if "unet" in name else (8, 4))
    height, width = (128, 256) if "unet" in name else (16, 20)
    images = network.eval()(torch.rand(2, a, height, width))
    assert images.shape == (2, b, height, width)
    assert images.abs().max() <= 1


def test_unet_256_has_eight_levels() -> None:
    network = make_generator(options(generator="unet_256", ngf=2), 3, 3)
    assert network.minimum == network.multiple == 256


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("layers", "size", "side"), [(1, 16, 6), (2, 16, 2), (3, 32, 2)])
def test_patch_discriminator_shapes(layers: int, size: int, side: int, norm: str) -> None:
    network = make_discriminator(
        options(discriminator="n_layers", num_layers_dis=layers, norm=norm), 4
    )
    assert network(torch.rand(2, 4, size, size)).shape == (2, 1, side, side)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_smallest_input_of_a_patch_discriminator(layers: int) -> None:
    network = PatchDiscriminator(3, 2, layers, "none")
    small = network.minimum
    # Strides round down, so the bound is exact for multiples of the total stride.
    assert network(torch.rand(1, 3, small + 2**layers, small + 2**layers)).numel() >= 1
    with pytest.raises(RuntimeError):
        network(torch.rand(1, 3, small - 1, small - 1))


def test_pixel_discriminator_sees_one_pixel() -> None:
    network = PixelDiscriminator(3, 4, "none")
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 1, 2], x)
    assert gradient.abs().sum(1).nonzero().tolist() == [[0, 1, 2]]


def test_receptive_field_of_the_70_pixel_patch() -> None:
    network = PatchDiscriminator(1, 2, 3, "none")
    x = torch.rand(1, 1, 128, 128, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 7, 7], x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 70


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("num_downs", [5, 6, 7, 8])
def test_unet_keys_are_a_bijection(num_downs: int, norm: str) -> None:
    network = UnetGenerator(3, 3, 2, num_downs, norm)  # type: ignore[arg-type]
    names = official_names(network)
    assert sorted(names.values()) == sorted(network.state_dict())
    assert len(names) == len(network.state_dict())
    copy = UnetGenerator(3, 3, 2, num_downs, norm)  # type: ignore[arg-type]
    load_official(copy, to_official(network), "G", "memory")
    assert all(torch.equal(a, b) for a, b in zip(
        copy.state_dict().values(), network.state_dict().values(), strict=True
    ))  # fmt: skip


def test_official_layout_refuses_other_keys() -> None:
    network = ResnetGenerator(3, 3, 2, 1)
    state = to_official(network) | {"model.99.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"G\.pth.*network G.*model\.99\.weight"):
        load_official(network, state, "G", "G.pth")


@pytest.mark.parametrize("name", ["normal", "xavier", "kaiming", "orthogonal"])
def test_initial_weights(name: str) -> None:
    conv, norm = nn.Conv2d(64, 64, 3), BatchNorm2d(512)
    init_weights(nn.Sequential(conv, norm), name, 0.5)  # type: ignore[arg-type]
    weight = conv.weight.detach().flatten(1)
    if name == "orthogonal":
        torch.testing.assert_close(weight @ weight.T, 0.25 * torch.eye(64), rtol=0, atol=1e-5)
    else:
        fan = 64 * 9
        std = {"normal": 0.5, "xavier": 0.5 * fan**-0.5, "kaiming": (2 / fan) ** 0.5}[name]
        assert weight.std().item() == pytest.approx(std, rel=0.02)
    assert conv.bias is not None
    assert conv.bias.abs().max() == 0
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.1)
    assert norm.weight.std().item() == pytest.approx(0.5, rel=0.1)
    assert norm.bias.abs().max() == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dropout", [False, True])
def test_gradient_checkpointing_changes_no_number(norm: str, dropout: bool) -> None:
    plain, thrifty = (
        ResnetGenerator(3, 3, 4, 2, norm, dropout, gradient_checkpointing=recompute)  # type: ignore[arg-type]
        for recompute in (False, True)
    )
    thrifty.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 16, 16)
    for network in (plain, thrifty):
        torch.manual_seed(1)
        network(x).square().mean().backward()
    for ours, theirs in zip(plain.parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, thrifty.state_dict()[key]), key


def test_gradient_checkpointing_of_a_unet_is_refused() -> None:
    with pytest.raises(UserError, match=r"gradient_checkpointing.*unet_128"):
        make_generator(options(generator="unet_128"), 3, 3, gradient_checkpointing=True)


@pytest.mark.parametrize("training", [True, False])
def test_per_image_batch_norm_is_train_mode_on_each_image(training: bool) -> None:
    norm = BatchNorm2d(3)
    init_weights(norm, gain=0.5)
    norm(torch.randn(4, 3, 8, 8) + 5)  # statistics that are not the initial ones
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    x = torch.randn(3, 3, 8, 8)
    norm.train(training)
    with published_test_mode(norm):
        together = norm(x)
    assert all(torch.equal(norm.state_dict()[key], before[key]) for key in before)
    alone = torch.cat([norm.train()(image[None]) for image in x])
    torch.testing.assert_close(together, alone)


def test_published_test_mode_keeps_dropout_and_restores() -> None:
    network = ResnetGenerator(3, 3, 4, 2, "batch", dropout=True).eval()
    x = torch.rand(1, 3, 16, 16)
    plain = network(x)
    with pytest.raises(ZeroDivisionError), published_test_mode(network):
        assert not torch.equal(network(x), network(x))
        assert not network.training
        raise ZeroDivisionError
    assert torch.equal(network(x), plain)
    assert not any(module.training for module in network.modules())
    plain_norm = ResnetGenerator(3, 3, 4, 2, "instance").eval()
    expected = plain_norm(x)
    with published_test_mode(plain_norm):
        assert torch.equal(plain_norm(x), expected)


def test_evaluating_restores_each_module() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    network[1].eval()
    with pytest.raises(ZeroDivisionError), evaluating(network):
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()
        raise ZeroDivisionError
    assert [module.training for module in network.modules()] == [True, True, False, False]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_smallest_image_of_a_patch_discriminator(num_layers: int) -> None:
    network = PatchDiscriminator(3, 4, num_layers)
    side = network.minimum
    assert network(torch.zeros(1, 3, side, side)).shape[2:] == (1, 1)
    with pytest.raises((RuntimeError, ValueError)):
        network(torch.zeros(1, 3, side - 1, side - 1))


@pytest.mark.parametrize("pixels", [1, 3])
@pytest.mark.parametrize(
    ("pad", "layer"),
    [(reflection_pad, nn.ReflectionPad2d), (replication_pad, nn.ReplicationPad2d)],
)
def test_deterministic_padding_is_torchs(pad: Any, layer: Any, pixels: int) -> None:
    x = torch.rand(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 5 + 2 * pixels, 7 + 2 * pixels, dtype=torch.float64)
    ours, theirs = pad(x, pixels), layer(pixels)(x)
    assert torch.equal(ours, theirs)
    (a,) = torch.autograd.grad((ours * weights).sum(), x)
    (b,) = torch.autograd.grad((theirs * weights).sum(), x)
    torch.testing.assert_close(a, b)
