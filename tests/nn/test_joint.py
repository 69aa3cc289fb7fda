"""Several inputs of one network in one pass, and networks for which that is another function."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.nn.discriminators import PatchDiscriminator
from core.nn.joint import forward_each, is_independent
from drit.layers import SpectralConv2d
from munit.config import DisOptions
from munit.networks import MsImageDis
from tests.small import family


def alone(network: nn.Module, *inputs: Tensor) -> list[Tensor]:
    return [network(x) for x in inputs]


def passes(network: nn.Module, *inputs: Tensor) -> int:
    """How many times the network runs for these inputs."""
    seen: list[None] = []
    handle = network.register_forward_hook(lambda *_: seen.append(None))
    forward_each(network, *inputs)
    handle.remove()
    return len(seen)


def test_one_pass_gives_what_each_gives_alone() -> None:
    network = PatchDiscriminator(3, 4, 2, "instance").double()
    x, y = torch.rand(2, 3, 16, 16).double(), torch.rand(1, 3, 16, 16).double()
    assert passes(network, x, y) == 1
    torch.testing.assert_close(list(forward_each(network, x, y)), alone(network, x, y))


def test_every_scale_is_taken_apart() -> None:
    network = MsImageDis(3, DisOptions(dim=4, n_layer=2, num_scales=2)).double()
    x, y = torch.rand(2, 3, 16, 16).double(), torch.rand(1, 3, 16, 16).double()
    torch.testing.assert_close(list(forward_each(network, x, y)), alone(network, x, y))


def test_several_arguments_of_a_method() -> None:
    gen = family("munit").networks["gen_a"].double()
    pairs = [(torch.rand(n, 16, 5, 5).double(), torch.rand(n, 3).double()) for n in (1, 2)]
    images = forward_each(gen.decode, *pairs)
    torch.testing.assert_close(list(images), [gen.decode(*pair) for pair in pairs])


def test_sizes_that_differ_go_one_by_one() -> None:
    network = PatchDiscriminator(3, 4, 2, "instance")
    x, y = torch.rand(2, 3, 16, 16), torch.rand(1, 3, 32, 32)
    assert passes(network, x, y) == 2
    assert [len(scores) for scores in forward_each(network, x, y)] == [2, 1]


@pytest.mark.parametrize(
    ("layer", "independent"),
    [
        (nn.InstanceNorm2d(3), True),
        (nn.GroupNorm(1, 3), True),
        (nn.Dropout(0.5), False),
        (nn.BatchNorm2d(3), False),
        (nn.BatchNorm2d(3, track_running_stats=False), False),
        (SpectralConv2d(3, 3, 1), False),
        (torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)), False),
    ],
)
def test_the_kind_of_network_decides(layer: nn.Module, independent: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), layer)
    assert is_independent(network) == independent
    x = torch.rand(2, 3, 8, 8)
    assert passes(network, x, x) == (1 if independent else 2)


def test_which_families_networks_are_joined() -> None:
    for name, model, networks in (
        ("cut", {}, {"G", "F", "D"}),
        ("cyclegan", {}, {"G_A", "G_B", "D_A", "D_B"}),
        ("cyclegan", {"dropout": True}, {"D_A", "D_B"}),
        ("cyclegan", {"norm": "batch"}, set()),
        ("pix2pix", {}, set()),
        ("munit", {}, {"gen_a", "gen_b", "dis_a", "dis_b"}),
        ("munit", {"dis": {"norm": "sn"}}, {"gen_a", "gen_b"}),
        ("unit", {"dis": {"norm": "bn"}}, {"gen_a", "gen_b"}),
        ("drit", {"dis_spectral_norm": True}, {"disContent", "enc_c", "enc_a", "gen"}),
    ):
        built = family(name, model)  # type: ignore[arg-type]
        assert {n for n, net in built.networks.items() if is_independent(net)} == networks, name
