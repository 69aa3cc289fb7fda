"""CUT as a family: what a step moves, which forwards it takes, features, blurs, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from core.errors import UserError
from core.tiling.run import run_tiled
from core.training.update import Updater
from cyclegan.cut import family as cut
from cyclegan.cut.networks import BlurDown, BlurUp
from tests.small import batch, family
from tests.training.test_steps import Watched, calls, snapshot

FAST = {"nce_idt": False, "lambda_NCE": 10.0, "flip_equivariance": True}
PLAIN = {"antialias": False, "antialias_up": False}
VARIANTS: list[dict[str, Any]] = [
    {},
    FAST,
    PLAIN,
    {"norm": "batch", "dropout": True},
    {"norm": "none", "discriminator": "pixel", "netF": "sample"},
    {"nce_layers": [4, 8], "nce_includes_all_negatives_from_minibatch": True, **PLAIN},
]


@pytest.mark.parametrize("model", VARIANTS)
def test_discriminator_moves_then_generator_and_sampler(model: dict[str, Any]) -> None:
    built = family("cut", model)
    update = Watched(built)
    update.begin()
    terms = built.training_step(batch(), 1, update)
    update.finish()
    trained = {"G"} if model.get("netF") == "sample" else {"G", "F"}
    assert update.moved == update.graded == [{"D"}, trained]
    assert all(p.requires_grad for net in built.networks.values() for p in net.parameters())
    assert all(term.isfinite() and not term.requires_grad for term in terms.values())
    nce = [terms[name] for name in ("NCE", "NCE_Y") if name in terms]
    assert len(nce) == (2 if built.config.model.nce_idt else 1)
    torch.testing.assert_close(terms["G"], terms["G_GAN"] + torch.stack(nce).mean())


@pytest.mark.parametrize("gan_mode", ["lsgan", "vanilla", "wgangp", "hinge"])
def test_every_objective(gan_mode: str) -> None:
    built = family("cut", {"gan_mode": gan_mode, "input_nc": 1, "output_nc": 1})
    terms = built.training_step(batch(channels=(1, 1)), 1, Updater())
    assert all(term.isfinite() for term in terms.values())
    assert ("gradient_penalty" in terms) == (gan_mode == "wgangp")


def test_sources_are_encoded_once() -> None:
    """Not again, unless that were another function or the input was mirrored."""
    images, contrast = batch(number=1), [("F", 5), ("F", 5)]
    assert calls(family("cut"), images) == [
        ("G", 2), ("D", 2), ("D", 1), ("G", 1), *contrast, ("G", 1), *contrast,
    ]  # fmt: skip
    assert calls(family("cut", {"norm": "batch"}), images) == [
        ("G", 2), ("D", 1), ("D", 1), ("D", 1), *[("G", 1), ("G", 1), *contrast] * 2,
    ]  # fmt: skip
    for mirrored, encoded in ((False, [("G", 1)]), (True, [("G", 1), ("G", 1)])):
        with patch.object(cut, "draw_mirrored", lambda mirrored=mirrored: mirrored):
            assert calls(family("cut", FAST), images) == [
                ("G", 1), ("D", 2), ("D", 1), *encoded, *contrast,
            ]  # fmt: skip


@pytest.mark.parametrize("layers", [[0, 4, 8, 12, 16], [4, 5], [2]])
@pytest.mark.parametrize("model", [{}, PLAIN, {"norm": "none"}])
def test_features_of_the_translating_forward_are_the_encoders(
    model: dict[str, Any], layers: list[int]
) -> None:
    """Also where a ReLU works in place right behind the last layer."""
    G, x = family("cut", model).networks["G"], batch().a
    with torch.no_grad():
        image, features = G(x, layers)
        torch.testing.assert_close(image, G(x))
        torch.testing.assert_close(features, G(x, layers, encode_only=True))
    assert [f.shape[1] for f in features] == G.channels(layers)


def gradients(layout: torch.memory_format) -> list[Tensor]:
    """Of G in a step on one image, in float64."""
    built, found = family("cut", FAST | {"flip_equivariance": False}), []
    for network in built.networks.values():
        network.to(torch.float64, memory_format=layout)
    built.optimizers["G"].register_step_pre_hook(
        lambda *_: found.extend(p.grad.clone() for p in built.networks["G"].parameters())
    )
    images = batch(number=1)
    a, b = (x.double().contiguous(memory_format=layout) for x in (images.a, images.b))
    built.training_step(replace(images, a=a, b=b), 1, Updater())
    return found


def test_gradient_at_one_image_is_right_in_either_layout() -> None:
    """Of sampled features gradients may reach an instance norm in channels_last (torch, CPU)."""
    for ours, other in zip(
        gradients(torch.contiguous_format), gradients(torch.channels_last), strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=1e-7, atol=1e-9)


def test_recomputed_blocks_give_the_same_step() -> None:
    plain, saving = (
        family("cut", train={"gradient_checkpointing": recompute}) for recompute in (False, True)
    )
    for built in (plain, saving):
        torch.manual_seed(1)
        built.training_step(batch(), 1, Updater())
    for name, state in snapshot(plain).items():
        for key, value in state.items():
            torch.testing.assert_close(saving.networks[name].state_dict()[key], value)


def test_images_of_different_sizes_go_one_by_one() -> None:
    images = replace(batch(), b=batch(width=24).b)
    assert family("cut").training_step(images, 1, Updater())["G"].isfinite()


def test_negatives_of_the_image_or_of_the_batch() -> None:
    losses = {}
    for everything in (False, True):
        built = family("cut", {"nce_includes_all_negatives_from_minibatch": everything})
        torch.manual_seed(1)
        losses[everything] = built.training_step(batch(), 1, Updater())["NCE"]
    assert losses[True] > losses[False] + 0.1, "twice as many to be told from"


def test_nonfinite_batch_leaves_everything_as_it_was() -> None:
    built = family("cut", {"norm": "batch"})
    update, before, images = Updater("cpu", list(built.networks.values())), snapshot(built), batch()
    images.a[0, 0, 0, 0] = torch.nan
    update.begin()
    built.training_step(images, 1, update)
    update.finish()
    assert update.skipped.item() == 1
    for network, state in before.items():
        for key, value in built.networks[network].state_dict().items():
            assert torch.equal(value, state[key]), (network, key)


@pytest.mark.parametrize("size", [(7, 10), (2, 3)])
def test_gradient_of_a_blur(size: tuple[int, int]) -> None:
    """Also its own gradient, which a gradient penalty takes."""
    x = torch.rand(2, 3, *size).double().requires_grad_()
    assert torch.autograd.gradcheck(BlurDown(3), x)
    assert torch.autograd.gradgradcheck(BlurDown(3), x)


def test_blurs_are_the_filters_of_their_files() -> None:
    x = torch.rand(2, 3, 7, 10).double()
    down, up = BlurDown(3), BlurUp(3)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    expected = torch.nn.functional.conv2d(padded, down.filt().double(), stride=2, groups=3)
    torch.testing.assert_close(down(x), expected)
    assert down(x).shape == (2, 3, 4, 5)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    whole = torch.nn.functional.conv_transpose2d(padded, up.filt().double(), stride=2, groups=3)
    torch.testing.assert_close(up(x), whole[..., 3:-3, 3:-3])


@pytest.mark.parametrize("model", [{}, PLAIN])
def test_tiles_equal_the_whole_image(model: dict[str, Any]) -> None:
    built, x = family("cut", model), batch(40, width=56).a
    for network in built.networks.values():
        network.eval()
    with torch.no_grad():
        whole = built.translate(x, "AtoB")
    tiled = run_tiled(
        lambda image: built.translate(image, "AtoB"), x, tile=16, device=torch.device("cpu")
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_preview_shows_what_is_trained() -> None:
    assert [*family("cut").preview(batch())] == ["real_A", "fake_B", "real_B", "idt_B"]
    assert [*family("cut", FAST).preview(batch())] == ["real_A", "fake_B", "real_B"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"input_nc": 1}, "input_nc 1 and output_nc 3 differ"),
        ({"nce_layers": [0, 8, 4]}, r"nce_layers must ascend, not \[0, 8, 4\]"),
        ({"nce_layers": [4, 99]}, "model.nce_layers: 99, but the layers of this .* 0 to 28"),
        ({"nce_layers": []}, "nce_layers"),
        ({"lambda_NCE": 0}, "lambda_NCE"),
        ({"generator": "unet_128"}, "generator"),
        ({"upsample": "resize"}, "upsample: resize .* antialias_up"),
    ],
)
def test_refusals(model: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        family("cut", model)
