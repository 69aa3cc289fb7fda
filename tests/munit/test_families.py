"""MUNIT and UNIT as families: what a step moves, white images, styles, tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from core.errors import UserError
from core.family import ImageBatch
from core.tiling.run import run_tiled
from core.training.update import Updater
from munit.family import MUNIT
from munit.losses import PerceptualLoss
from tests.small import SMALL, TABLE, batch, family
from tests.training.test_steps import Watched, snapshot

NAMES = ["munit", "unit"]
CYCLE = {"recon_x_cyc_w": 10.0}


def directed(name: str, direction: str) -> Any:
    config = family(name, CYCLE).config
    data = config.data.model_copy(update={"direction": direction})
    torch.manual_seed(0)
    return TABLE[name].build(config.model_copy(update={"data": data}))


@pytest.mark.parametrize("model", [CYCLE, {"recon_x_cyc_w": 0.0}])
@pytest.mark.parametrize("name", NAMES)
def test_discriminators_move_then_generators(name: str, model: dict[str, Any]) -> None:
    built = family(name, model)
    update = Watched(built)
    update.begin()
    terms = built.training_step(batch(), 1, update)
    update.finish()
    order = [{"dis_a", "dis_b"}, {"gen_a", "gen_b"}]
    assert update.moved == order
    assert update.graded == order, "frozen networks collect no gradients"
    assert all(p.requires_grad for net in built.networks.values() for p in net.parameters())
    assert all(term.isfinite() and not term.requires_grad for term in terms.values())
    parts = [value for key, value in terms.items() if key not in ("dis_a", "dis_b", "gen")]
    torch.testing.assert_close(terms[built.objective], torch.stack(parts).sum())
    assert ("recon_x_cyc_a" in terms) == bool(model["recon_x_cyc_w"])


@pytest.mark.parametrize("name", NAMES)
def test_images_of_different_sizes_go_one_by_one(name: str) -> None:
    built = family(name, CYCLE)
    images = replace(batch(), b=batch(width=24).b)
    assert built.training_step(images, 1, Updater())["gen"].isfinite()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("value", [1.0, -1.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_constant_images_train(name: str, value: float, precision: str) -> None:
    built = family(name, CYCLE)
    white = torch.full((1, 3, 32, 32), value)
    update = Watched(built)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        for step in range(3):
            update.begin()
            terms = built.training_step(ImageBatch(white, white, ("",), ("",)), step, update)
            update.finish()
            assert update.skipped.item() == 0
            assert all(term.isfinite() for term in terms.values())
    for network in built.networks.values():
        assert all(p.isfinite().all() for p in network.parameters())
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert max((g.abs().max().item() for g in gradients), default=0.0) < 1e4


@pytest.mark.parametrize("name", NAMES)
def test_nonfinite_batch_leaves_everything_as_it_was(name: str) -> None:
    built = family(name, {"dis": SMALL[name]["dis"] | {"norm": "sn"}})
    update, before, images = Updater("cpu", list(built.networks.values())), snapshot(built), batch()
    images.a[0, 0, 0, 0] = torch.nan
    update.begin()
    built.training_step(images, 1, update)
    update.finish()
    assert update.skipped.item() == 1
    for network, state in before.items():
        for key, value in built.networks[network].state_dict().items():
            assert torch.equal(value, state[key]), (network, key)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_learn_to_reconstruct(name: str) -> None:
    built = family(name, {"gan_w": 0.0})
    for group in built.optimizers["gen"].param_groups:
        group["lr"] = 2e-3
    update, images = Updater(), batch(number=1)
    images.a.fill_(0.5)
    terms = [built.training_step(images, step, update)["recon_x_a"].item() for step in range(20)]
    assert terms[-1] < 0.6 * terms[0]


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("name", NAMES)
def test_directions_are_the_data_sets(name: str, direction: str) -> None:
    built, x = directed(name, direction), batch().a
    back = "BtoA" if direction == "AtoB" else "AtoB"
    gen_a, gen_b = built.networks["gen_a"], built.networks["gen_b"]
    assert built.directions == ("AtoB", "BtoA")
    if name == "unit":
        assert torch.equal(built.translate(x, direction), gen_b.dec(gen_a.enc(x)))
        assert torch.equal(built.translate(x, back), gen_a.dec(gen_b.enc(x)))
        return
    styles = built.random_styles(2)
    expected = gen_b.decode(gen_a.enc_content(x), styles)
    assert torch.equal(built.translate(x, direction, styles), expected)
    assert torch.equal(built.encode_style(x, direction), gen_b.enc_style(x))
    assert torch.equal(built.encode_style(x, back), gen_a.enc_style(x))


def test_styles() -> None:
    built = family("munit")
    assert isinstance(built, MUNIT)
    assert built.style_dim == 3
    one, two = (built.random_styles(4, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert one.shape == (4, 3) and one.dtype == torch.float32 and not torch.equal(one, two)
    x, state = batch().a, torch.get_rng_state()
    first = built.translate(x, "AtoB")
    assert torch.equal(first, built.translate(x, "AtoB"))
    assert torch.equal(torch.get_rng_state(), state), "looking disturbs no random numbers"
    assert not torch.equal(first, built.translate(x, "AtoB", two[:2]))


@pytest.mark.parametrize("name", NAMES)
def test_preview(name: str) -> None:
    built, state = family(name, CYCLE), torch.get_rng_state()
    columns = built.preview(batch())
    kinds = ["", "_recon", "", "_1", "_2", "_3", "_guided", ""]
    styled = name == "munit"
    expected = {
        f"x_{s}{t if n > 1 else ''}{s if n == 7 else ''}{kind}"
        for s, t in ("ab", "ba")
        for n, kind in enumerate(kinds)
        if n in ((0, 1, 3, 4, 5, 6, 7) if styled else (0, 1, 2, 7))
    }
    assert columns.keys() == expected
    assert all(images.shape == (2, 3, 16, 16) for images in columns.values())
    assert torch.equal(torch.get_rng_state(), state)
    if styled:
        assert not torch.equal(columns["x_ab_1"], columns["x_ab_2"])


@pytest.mark.parametrize("pad_type", ["reflect", "zero"])
@pytest.mark.parametrize("name", NAMES)
def test_tiles_equal_the_whole_image(name: str, pad_type: str) -> None:
    gen = SMALL[name]["gen"] | {"pad_type": pad_type}
    built, x = family(name, {"gen": gen}), batch(40, width=56).a
    for network in built.networks.values():
        network.eval()
    more = (built.random_styles(2),) if name == "munit" else ()
    with torch.no_grad():
        whole = built.translate(x, "AtoB", *more)
    tiled = run_tiled(
        lambda image: built.translate(image, "AtoB", *more), x, tile=16, device=torch.device("cpu")
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_train_and_eval_mode_are_one_function(name: str) -> None:
    built, x = family(name), batch(width=24).a
    trained = built.translate(x, "AtoB")
    for network in built.networks.values():
        network.eval()
    torch.testing.assert_close(built.translate(x, "AtoB"), trained, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_channels(name: str) -> None:
    built = family(name, CYCLE | {"input_dim_a": 1})
    images = batch(channels=(1, 3))
    assert built.training_step(images, 1, Updater())["gen"].isfinite()
    assert built.translate(images.a, "AtoB").shape == images.b.shape


@pytest.mark.parametrize("vgg", ["vgg16", "vgg16_student"])
@pytest.mark.parametrize("name", NAMES)
def test_perceptual_loss_is_neither_trained_nor_saved(
    name: str, vgg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("munit.losses.load_vgg", lambda *_: None)  # random weights will do
    built = family(name, {"vgg_w": 1.0, "vgg": vgg})
    terms = built.training_step(batch(), 1, Updater())
    assert terms["vgg_a"] > 0 and terms["vgg_b"] > 0
    network = built.perceptual_loss.vgg()
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert built.networks.keys() == {"gen_a", "gen_b", "dis_a", "dis_b"} and not built.state


def test_perceptual_loss_names_a_missing_file() -> None:
    with pytest.raises(UserError, match=r"nowhere/vgg16\.weight: cannot read the VGG weights"):
        PerceptualLoss("nowhere/vgg16.weight", "caffe")(
            torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
        )
