"""One training step of each family: who moves, who does not, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.losses import gradient_penalty
from core.training.update import Updater
from tests.small import batch, family

NAMES = ["cyclegan", "pix2pix"]
VARIANTS: list[dict[str, Any]] = [
    {"norm": "instance", "dropout": False},
    {"norm": "batch", "dropout": True},
    {"norm": "none", "dropout": False, "discriminator": "pixel"},
]


def snapshot(built: Any) -> dict[str, dict[str, Tensor]]:
    return {
        name: {key: value.clone() for key, value in network.state_dict().items()}
        for name, network in built.networks.items()
    }


def moved(built: Any, before: dict[str, dict[str, Tensor]]) -> set[str]:
    """Names of the networks of which any parameter changed."""
    return {
        name
        for name, network in built.networks.items()
        if any(not torch.equal(p, before[name][key]) for key, p in network.named_parameters())
    }


class Watched(Updater):
    """An updater that notes, per update, what moved and which gradients there were."""

    def __init__(self, built: Any) -> None:
        super().__init__("cpu", list(built.networks.values()))
        self.built = built
        self.moved: list[set[str]] = []
        self.graded: list[set[str]] = []

    def __call__(self, optimizer: Any, *losses: Tensor) -> None:
        for network in self.built.networks.values():
            network.zero_grad()
        before = snapshot(self.built)
        super().__call__(optimizer, *losses)
        self.moved.append(moved(self.built, before))
        self.graded.append(
            {
                name
                for name, network in self.built.networks.items()
                if any(p.grad is not None for p in network.parameters())
            }
        )


ORDER = {
    "cyclegan": [{"G_A", "G_B"}, {"D_A", "D_B"}],
    "pix2pix": [{"D"}, {"G"}],
}


@pytest.mark.parametrize("model", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_only_the_meant_networks_move(name: str, model: dict[str, Any]) -> None:
    built = family(name, model)
    update = Watched(built)
    update.begin()
    terms = built.training_step(batch(), 1, update)
    update.finish()
    assert update.moved == ORDER[name]
    assert update.graded == ORDER[name], "frozen networks collect no gradients"
    assert all(p.requires_grad for net in built.networks.values() for p in net.parameters())
    assert all(term.isfinite() and not term.requires_grad for term in terms.values())
    assert built.objective in terms


@pytest.mark.parametrize("gan_mode", ["lsgan", "vanilla", "wgangp", "hinge"])
@pytest.mark.parametrize("name", NAMES)
def test_every_objective_and_channel_count(name: str, gan_mode: str) -> None:
    model = {"gan_mode": gan_mode, "input_nc": 1, "output_nc": 4, "norm": "instance"}
    built = family(name, model | ({"lambda_identity": 0.0} if name == "cyclegan" else {}))
    terms = built.training_step(batch(channels=(1, 4)), 1, Updater())
    assert all(term.isfinite() for term in terms.values())
    assert built.translate(batch(channels=(1, 4)).a, "AtoB").shape == (2, 4, 16, 16)


@pytest.mark.parametrize("name", NAMES)
def test_wgangp_keeps_its_critics_lipschitz(name: str) -> None:
    """By the penalty, half of which belongs to half the loss; batch norm has no such penalty."""
    model = {"gan_mode": "wgangp", "norm": "instance", "dropout": False}
    real, losses = batch(), []
    for weight in (0.0, 10.0):
        built = family(name, model | {"lambda_gp": weight})
        paired = name == "pix2pix"
        G, D = (built.networks[n] for n in (("G", "D") if paired else ("G_A", "D_A")))
        fake = G(real.a)
        images = [torch.cat([real.a, b], 1) if paired else b for b in (real.b, fake)]
        torch.manual_seed(0)
        penalty = 0.5 * gradient_penalty(D, *images, weight=weight)
        torch.manual_seed(0)
        losses.append(built.training_step(real, 1, Updater())["D" if paired else "D_A"])
    assert penalty > 0.1
    torch.testing.assert_close(losses[1] - losses[0], penalty, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="norm: batch couples samples"):
        family(name, model | {"norm": "batch"})


def calls(built: Any, images: Any) -> list[tuple[str, int]]:
    """(network, how many images) of each forward of a step, in order."""
    seen: list[tuple[str, int]] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
            seen.append((name, len(inputs[0])))

        return hook

    for name, network in built.networks.items():
        network.register_forward_hook(note(name))
    built.training_step(images, 1, Updater())
    return seen


def test_published_order_of_forwards_with_batch_norm() -> None:
    """Running statistics, and dropout masks, depend on it."""
    built = family("cyclegan", {"norm": "batch"})
    first: dict[str, Tensor] = {}
    images = batch(number=1)

    def note(_module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        first[str(len(first))] = inputs[0]

    built.networks["G_A"].register_forward_hook(note)
    assert [name for name, _ in calls(built, images)] == [
        "G_A", "G_B", "G_B", "G_A", "G_A", "G_B", "D_A", "D_B", "D_A", "D_A", "D_B", "D_B",
    ]  # fmt: skip
    assert torch.equal(first["0"], images.a)
    assert not torch.equal(first["1"], images.b), "the reconstruction comes before the identity"
    assert torch.equal(first["2"], images.b)


def test_number_of_forwards_when_joined() -> None:
    assert calls(family("cyclegan"), batch(number=1)) == [
        ("G_A", 2), ("G_B", 2), ("G_B", 1), ("G_A", 1),
        ("D_A", 1), ("D_B", 1), ("D_A", 2), ("D_B", 2),
    ]  # fmt: skip
    assert calls(family("pix2pix", {"norm": "instance"}), batch(number=1)) == [
        ("G", 1), ("D", 2), ("D", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nonfinite_batch_leaves_everything_as_it_was(name: str) -> None:
    built = family(name, {"norm": "batch"})
    update = Updater("cpu", list(built.networks.values()))
    before = snapshot(built)
    images = batch()
    images.a[0, 0, 0, 0] = torch.nan
    update.begin()
    built.training_step(images, 1, update)
    update.finish()
    assert update.skipped.item() == 1
    for network, state in before.items():
        for key, value in built.networks[network].state_dict().items():
            assert torch.equal(value, state[key]), (network, key)
    for pool in built.state.values():
        assert all(image.isfinite().all() for image in pool.images)


def test_cyclegan_directions_and_preview() -> None:
    built = family("cyclegan").__class__.build(
        family("cyclegan").config.model_copy(
            update={"data": family("cyclegan").config.data.model_copy(update={"direction": "BtoA"})}
        )
    )
    x = batch().a
    assert built.directions == ("AtoB", "BtoA")
    assert torch.equal(built.translate(x, "BtoA"), built.networks["G_A"](x))
    assert torch.equal(built.translate(x, "AtoB"), built.networks["G_B"](x))
    assert list(built.preview(batch())) == [
        "real_A", "fake_B", "rec_A", "idt_B", "real_B", "fake_A", "rec_B", "idt_A",
    ]  # fmt: skip


def test_pix2pix_learns_a_constant() -> None:
    """A few steps on one pair bring the L1 term down: gradients reach the generator."""
    built = family("pix2pix", {"dropout": False})
    update, images = Updater(), batch(number=1)
    images.b.fill_(0.5)
    terms = [built.training_step(images, step, update)["G_L1"].item() for step in range(30)]
    assert terms[-1] < 0.8 * terms[0]
