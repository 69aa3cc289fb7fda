"""DRIT's iteration: who moves, styles, tiles, odd inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.config import validate
from core.errors import UserError
from core.family import ImageBatch, Place
from core.tiling.run import run_tiled
from core.training.update import Updater
from drit.config import Config
from drit.family import DRIT, IMAGE_DIS
from tests.small import batch, family

VARIANTS: dict[str, dict[str, Any]] = {
    "concat": {},
    "feature": {"concat": False},
    "one_code": {"lambda_ms": 0.0},
    "spectral": {"dis_spectral_norm": True},
    "one_scale": {"dis_scale": 1},
    "encode_all": {"encode_all": True},
}
each_variant = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
CPU = torch.device("cpu")


def wide(number: int = 2, height: int = 44, width: int = 52) -> ImageBatch:
    """Images that are not square."""
    images = batch(52, number)
    return replace(images, a=images.a[:, :, :height, :width], b=images.b[:, :, :height, :width])


def awake(built: DRIT) -> DRIT:
    """With PyTorch's own initial weights: the published ones leave narrow networks nearly blind."""
    for network in built.networks.values():
        for module in network.modules():
            if (
                isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
                and "weight" in module._parameters
            ):
                module.reset_parameters()
    return built


def snapshot(built: DRIT) -> dict[str, dict[str, Tensor]]:
    return {
        name: {key: value.clone() for key, value in network.state_dict().items()}
        for name, network in built.networks.items()
    }


def moved(built: DRIT, before: dict[str, dict[str, Tensor]]) -> set[str]:
    return {
        name
        for name, network in built.networks.items()
        if any(not torch.equal(p, before[name][key]) for key, p in network.named_parameters())
    }


class Watched(Updater):
    """Notes which networks each optimizer step moves."""

    def __init__(self, built: DRIT) -> None:
        super().__init__("cpu", list(built.networks.values()))
        self.built = built
        self.moved: list[set[str]] = []

    def _step(self, *args: Any) -> None:
        before = snapshot(self.built)
        super()._step(*args)
        self.moved.append(moved(self.built, before))


@each_variant
def test_full_iteration_moves_networks_in_the_published_order(model: dict[str, Any]) -> None:
    built = family("drit", model)
    update = Watched(built)
    update.begin()
    terms = built.training_step(wide(), 0, update)
    update.finish()
    assert update.moved == [
        set(IMAGE_DIS),
        {"disContent"},
        {"enc_c", "enc_a", "gen"},
        {"enc_c", "gen"},
    ]
    assert not update.skipped
    assert all(term.isfinite() and not term.requires_grad for term in terms.values())
    assert built.objective in terms
    assert ("lz_AB" in terms) == (built.config.model.lambda_ms > 0)
    assert all(p.requires_grad for net in built.networks.values() for p in net.parameters())
    steps = {name: next(iter(o.state.values()))["step"] for name, o in built.optimizers.items()}
    assert steps == {name: 2 if name in ("enc_c", "gen") else 1 for name in built.networks}


def test_other_iterations_move_the_content_discriminator_only() -> None:
    built = family("drit", {"d_iter": 3})
    images = wide()
    update = Watched(built)
    kinds = [set(built.training_step(images, step, update)) for step in range(3)]
    assert kinds[0] == kinds[1] == {"disContent_loss"}
    assert "G_loss" in kinds[2]
    assert update.moved[:2] == [{"disContent"}] * 2
    # In an epoch that counts for itself, the last two are full.
    placed = replace(images, place=Place(0, 2))
    assert "G_loss" in built.training_step(placed, 0, update)


def test_content_discriminator_is_slower_and_clipped() -> None:
    built = family("drit")
    rates = {name: o.param_groups[0]["lr"] for name, o in built.optimizers.items()}
    assert rates.pop("disContent") == pytest.approx(4e-5)
    assert set(rates.values()) == {1e-4}
    parameters = list(built.networks["disContent"].parameters())
    huge = torch.full((1, 16, 11, 13), 1e4)
    built.update_content(huge, -huge, Updater())
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    assert norm.item() == pytest.approx(5, rel=1e-4)


def test_first_image_is_translated_and_the_others_are_only_real() -> None:
    built = family("drit")
    images = wide(3)
    (a, rest_a), _ = built.split(images.a), built.split(images.b)
    assert torch.equal(a, images.a[:1])
    assert torch.equal(rest_a, images.a[1:])
    every = family("drit", {"encode_all": True}, {"batch_size": 1})
    assert all(torch.equal(part, images.a) for part in every.split(images.a))
    every.training_step(wide(1), 0, Updater())


def test_one_image_is_refused_by_the_published_rule() -> None:
    tree = {"family": "drit", "data": {"root": ""}, "train": {"batch_size": 1}}
    with pytest.raises(UserError, match=r"train.batch_size: 1 leaves no real image.*encode_all"):
        validate(Config, tree)
    validate(Config, tree | {"model": {"encode_all": True}})


def losses_and_weights(
    model: dict[str, Any], train: dict[str, Any], images: ImageBatch
) -> tuple[list[Tensor], list[Tensor]]:
    """After two full iterations in float64."""
    built = awake(family("drit", model, train))
    for network in built.networks.values():
        network.double()
    doubled = replace(images, a=images.a.double(), b=images.b.double())
    update = Updater()
    terms = [built.training_step(doubled, step, update) for step in (0, 1)]
    # Moments rather than weights, in which Adam would blow rounding noise up to full steps.
    moments = [m["exp_avg"] for o in built.optimizers.values() for m in o.state.values()]
    return [value for term in terms for value in term.values()], moments


@each_variant
def test_gradient_checkpointing_changes_no_number(model: dict[str, Any]) -> None:
    kept, recomputed = (
        losses_and_weights(model, {"gradient_checkpointing": on}, wide()) for on in (False, True)
    )
    torch.testing.assert_close(kept, recomputed, rtol=1e-7, atol=1e-9)


@each_variant
def test_white_images_train(model: dict[str, Any]) -> None:
    built = family("drit", model)
    images = wide()
    images.a.fill_(1.0)
    images.b.fill_(1.0)
    update = Updater("cpu", list(built.networks.values()))
    for step in range(3):
        update.begin()
        terms = built.training_step(images, step, update)
        update.finish()
        assert not update.skipped
        assert all(term.isfinite() for term in terms.values())
    for network in built.networks.values():
        assert all(p.isfinite().all() for p in network.parameters())
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@each_variant
def test_nonfinite_batch_leaves_everything_as_it_was(model: dict[str, Any]) -> None:
    built = family("drit", model)
    update = Updater("cpu", list(built.networks.values()))
    before, images = snapshot(built), wide()
    images.a[0, 0, 0, 0] = torch.nan
    update.begin()
    built.training_step(images, 0, update)
    update.finish()
    assert update.skipped.item() == 1
    for network, state in before.items():
        for key, value in built.networks[network].state_dict().items():
            assert torch.equal(value, state[key]), (network, key)


@each_variant
def test_bf16(model: dict[str, Any]) -> None:
    full = awake(family("drit", model)).training_step(wide(), 0, Updater())
    built, update = awake(family("drit", model)), Updater()
    with torch.autocast("cpu", torch.bfloat16):
        half = built.training_step(wide(), 0, update)
    assert not update.skipped
    for name, value in full.items():
        assert half[name].item() == pytest.approx(value.item(), rel=0.2, abs=0.1), name


@pytest.mark.parametrize("concat", [True, False])
def test_compiled_stages_give_the_same_image(concat: bool) -> None:
    built = family("drit", {"concat": concat})
    gen, content, z = built.networks["gen"], torch.randn(2, 16, 6, 7), torch.randn(2, 8)
    expected = gen(content, z, "B")
    torch.compiler.reset()
    gen.compile(backend="eager")
    torch.testing.assert_close(gen(content, z, "B"), expected)


def test_mode_seeking_pulls_images_apart() -> None:
    """Trained by that term alone, two codes come to give different images."""
    weights = dict.fromkeys(
        ("lambda_gan", "lambda_content", "lambda_self", "lambda_cycle", "lambda_latent"), 0.0
    )
    built = family("drit", weights)
    for optimizer in built.optimizers.values():
        optimizer.param_groups[0]["lr"] = 2e-3
    images, update = wide(), Updater()
    apart = [built.training_step(images, step, update)["lz_AB"].item() for step in range(20)]
    assert apart[-1] < 0.8 * apart[0]


# -- using it -------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["concat", "feature"])
def small(request: pytest.FixtureRequest) -> DRIT:
    built = awake(family("drit", {"concat": request.param}))
    for network in built.networks.values():
        network.eval()
    return built


@torch.no_grad()
def test_styles(small: DRIT) -> None:
    images = wide(3)
    assert small.style_dim == 8
    generator = torch.Generator().manual_seed(3)
    styles = small.random_styles(3, generator)
    assert styles.shape == (3, 8)
    assert torch.equal(styles, small.random_styles(3, torch.Generator().manual_seed(3)))
    assert small.encode_style(images.b, "AtoB").shape == (3, 8)
    assert small.encode_content(images.a, "AtoB").shape == (3, 16, 11, 13)
    fake = small.translate(images.a, "AtoB", styles)
    assert fake.shape == images.a.shape
    torch.testing.assert_close(
        fake, small.decode(small.encode_content(images.a, "AtoB"), styles, "AtoB")
    )
    assert not torch.allclose(fake, small.translate(images.a, "AtoB", -styles), atol=1e-4)


@torch.no_grad()
def test_a_translation_without_style_is_repeatable_and_leaves_the_dice_alone(small: DRIT) -> None:
    images = wide()
    state = torch.get_rng_state()
    fake = small.translate(images.a, "AtoB")
    assert torch.equal(fake, small.translate(images.a, "AtoB"))
    small.preview(images)
    assert torch.equal(state, torch.get_rng_state())


@torch.no_grad()
def test_direction_names_the_data_sets_domains() -> None:
    built = family("drit", {"input_dim_a": 1})
    turned = built.config.model_copy(
        update={"data": built.config.data.model_copy(update={"direction": "BtoA"})}
    )
    built = DRIT(turned, built.networks)
    # The model's A, of one channel, is the data set's B.
    assert built.translate(torch.rand(1, 1, 44, 44), "BtoA").shape == (1, 3, 44, 44)
    assert built.translate(torch.rand(1, 3, 44, 44), "AtoB").shape == (1, 1, 44, 44)


@torch.no_grad()
def test_preview(small: DRIT) -> None:
    columns = small.preview(wide())
    one_way = ["real_A", "recon_A", "fake_B_1", "fake_B_2", "fake_B_3", "guided_B", "cycle_A"]
    other = ["real_B", "recon_B", "fake_A_1", "fake_A_2", "fake_A_3", "guided_A", "cycle_B"]
    assert list(columns) == one_way + other
    assert all(images.shape == (2, 3, 44, 52) for images in columns.values())
    assert not torch.equal(columns["fake_B_1"], columns["fake_B_2"])


@pytest.mark.parametrize("tile", [16, 40])
@torch.no_grad()
def test_tiles_give_the_whole_image(small: DRIT, tile: int) -> None:
    images, styles = wide(2, 44, 52).a, torch.randn(2, 8)
    for direction in small.directions:
        whole = small.translate(images, direction, styles)
        tiled = run_tiled(
            lambda x, way=direction: small.translate(x, way, styles),  # type: ignore[misc]
            images,
            tile=tile,
            device=CPU,
        )
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    default = run_tiled(lambda x: small.translate(x, "AtoB"), images, tile=tile, device=CPU)
    torch.testing.assert_close(default, small.translate(images, "AtoB"), rtol=0, atol=1e-5)
