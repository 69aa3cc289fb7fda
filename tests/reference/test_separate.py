"""Training steps against the separate way: the same losses and the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from core.training.update import Updater
from tests.drit.test_family import VARIANTS, awake, wide
from tests.reference import separate
from tests.small import SMALL, batch, family

Model = dict[str, Any]


def assert_same(name: str, model: Model, images: Any) -> None:
    """Two iterations in float64 give the same terms, parameters and buffers either way."""
    doubled = replace(images, a=images.a.double(), b=images.b.double())
    results = []
    for joint in (True, False):
        built = family(name, model)
        if name == "drit":
            awake(built)
        for network in built.networks.values():
            network.double()
        for optimizer in built.optimizers.values():
            # Adam's own eps would blow the rounding of gradients that are zero up to full steps.
            optimizer.param_groups[0]["eps"] = 1e-3
        torch.manual_seed(1)
        if joint:
            update = Updater("cpu", [*built.networks.values()])
            terms = [built.training_step(doubled, step, update) for step in (0, 1)]
        else:
            oracle = getattr(separate, name)
            terms = [oracle(built, doubled.a, doubled.b) for _ in range(2)]
        states = {name: network.state_dict() for name, network in built.networks.items()}
        results.append((terms, states))
    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "model",
    [
        {"norm": "instance", "dropout": False},
        {"norm": "instance", "dropout": True},
        {"norm": "batch", "dropout": True},
        {"norm": "none", "dropout": False, "discriminator": "pixel"},
        {"norm": "instance", "dropout": False, "gan_mode": "vanilla", "pool_size": 3},
    ],
    ids=["instance", "dropout", "batch", "pixel", "pool"],
)
@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_cyclegan_and_pix2pix(name: str, model: Model) -> None:
    assert_same(name, model, batch())
    if name == "cyclegan":
        assert_same(name, model | {"lambda_identity": 0.0}, batch(number=1))


@pytest.mark.parametrize("norm", ["none", "bn", "in", "ln", "sn"])
@pytest.mark.parametrize("gan_type", ["lsgan", "nsgan"])
@pytest.mark.parametrize("name", ["munit", "unit"])
def test_munit_and_unit(name: str, gan_type: str, norm: str) -> None:
    dis = SMALL[name]["dis"] | {"norm": norm, "gan_type": gan_type}
    assert_same(name, {"recon_x_cyc_w": 10.0, "dis": dis}, batch(width=20))


@pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("number", [2, 3])
def test_drit(model: Model, number: int) -> None:
    assert_same("drit", model, wide(number))


@pytest.mark.parametrize("name", ["cyclegan", "munit", "unit"])
def test_images_of_different_sizes(name: str) -> None:
    assert_same(name, {}, replace(batch(), b=batch(width=24).b))
