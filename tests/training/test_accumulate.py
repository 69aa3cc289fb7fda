"""`train.accumulate`: a step in parts is the step of the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.config import validate
from core.family import ImageBatch, SampleBatch
from core.options import TrainOptions
from core.training.step import Stepper
from families import FAMILIES
from tests.runs import Tree, changed, differences, small_tree, train_to_end, train_until_signal
from tests.small import SMALL, batch

PARTS = 2
WGAN: Tree = {"norm_gen": "none", "nz": 5, "ngf": 2, "ndf": 2, "num_critic": 2}
CASES: dict[str, tuple[str, Tree]] = {
    "cut": ("cut", SMALL["cut"] | {"lambda_NCE": 0.1, "flip_equivariance": True}),
    "cyclegan": ("cyclegan", SMALL["cyclegan"] | {"pool_size": 1, "diffaug": ["color"]}),
    "pix2pix": (
        "pix2pix",
        SMALL["pix2pix"] | {"norm": "instance", "dropout": False, "diffaug": ["translation"]},
    ),
    "munit": ("munit", SMALL["munit"] | {"dis": SMALL["munit"]["dis"] | {"norm": "sn"}}),
    "drit": ("drit", SMALL["drit"] | {"encode_all": True, "dis_spectral_norm": True}),
    "wgan": ("wgan", WGAN | {"gen_batch_factor": 2, "diffaug": ["cutout"]}),
    "wgan_paper": (
        "wgan",
        WGAN | {"constraint": "clip", "norm_critic": "none", "clip_convention": "paper"},
    ),
}


def images(family: str, number: int, seed: int) -> ImageBatch | SampleBatch:
    if family == "wgan":
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.rand(number, 3, 16, 16, generator=generator).double() * 2 - 1
        return SampleBatch(pixels, ("x",) * number, ("",) * number)
    both = batch(44 if family == "drit" else 16, number, seed=seed)
    return ImageBatch(both.a.double(), both.b.double(), both.names_a, both.names_b)


def stepper(family: str, model: Tree, parts: int) -> Stepper:
    kind = FAMILIES[family]
    tree = {
        "family": family,
        "data": {"root": "nowhere", "load_size": 16, "crop_size": 16},
        "model": model,
        # Adam's usual eps turns rounding noise of vanishing gradients into steps of up to lr.
        "optim": {"lr": 0.01, "eps": 0.01},
    }
    torch.manual_seed(0)
    built = kind.build(validate(kind.Config, tree))
    for network in built.networks.values():
        network.double()
    return Stepper(built, TrainOptions(accumulate=parts), torch.device("cpu"))


@pytest.mark.parametrize("case", CASES)
def test_parts_are_the_whole(case: str) -> None:
    """Weights, buffers, terms, histories and random state, over two steps."""
    family, model = CASES[case]
    ends = []
    for parts in (1, PARTS):
        train = stepper(family, model, parts)
        torch.manual_seed(1)
        terms: dict[str, Tensor] = {}
        for number in range(2):
            terms |= train(images(family, PARTS, number), number)
        built: Any = train._family
        ends.append(
            {
                "networks": {name: net.state_dict() for name, net in built.networks.items()},
                "terms": terms,
                "pools": {name: pool.images for name, pool in built.state.items()},
                "random": torch.get_rng_state(),
            }
        )
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-9, atol=1e-12)


class Weighed:
    """A saved tensor that counts as long as it lives."""

    alive = peak = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # an output would hold the graph that holds it
        self.size = tensor.numel()
        Weighed.alive += self.size
        Weighed.peak = max(Weighed.peak, Weighed.alive)

    def __del__(self) -> None:
        Weighed.alive -= self.size


@pytest.mark.parametrize("case", ["cyclegan", "pix2pix", "drit"])
def test_the_graph_of_one_part_is_kept(case: str) -> None:
    family, model = CASES[case]
    peaks = []
    for parts in (1, 4):
        train = stepper(family, model, parts)
        Weighed.alive = Weighed.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Weighed, lambda kept: kept.tensor):
            train(images(family, 4, 0), 1)
        peaks.append(Weighed.peak)
    assert peaks[1] < peaks[0] / 2, peaks


def test_dropout_draws_for_each_part(paired: Path, tmp_path: Path) -> None:
    """By itself, the same in every run of a part; and a resumed run draws the same."""
    tree = changed(
        small_tree("pix2pix", paired),
        model={"dropout": True, "norm": "batch", "pool_size": 3},
        train={"batch_size": 1, "accumulate": 2, "num_epochs": 2},
    )
    unbroken = train_to_end(tree, tmp_path / "unbroken")
    state = train_until_signal(tree, tmp_path / "broken", 4)
    resumed = train_to_end(tree, tmp_path / "broken", state)
    assert differences(unbroken, resumed) == []
    assert unbroken["step"] == 9  # five pairs, two a step, three epochs


@pytest.mark.parametrize("which", [0, 1])
def test_one_part_that_is_not_finite_keeps_the_step_back(which: int) -> None:
    train = stepper("munit", CASES["munit"][1], PARTS)
    nets = train._family.networks
    before = {n: {k: v.clone() for k, v in net.state_dict().items()} for n, net in nets.items()}
    broken = images("munit", PARTS, 0)
    broken.a[which] = float("nan")  # type: ignore[union-attr]
    train(broken, 0)
    assert train.update.skipped.item() == 1
    after = {name: net.state_dict() for name, net in nets.items()}
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_half_precision_in_parts() -> None:
    """bf16 autocast: casts of weights from before an update are not met after it."""
    losses = []
    for parts in (1, 2):
        torch.manual_seed(0)
        kind = FAMILIES["cyclegan"]
        tree = {"family": "cyclegan", "data": {"root": "nowhere"}, "model": SMALL["cyclegan"]}
        built = kind.build(validate(kind.Config, changed(tree, optim={"lr": 0.01})))
        options = TrainOptions(accumulate=parts, precision="bf16")
        train = Stepper(built, options, torch.device("cpu"))
        train(batch(number=2), 0)
        losses.append({k: float(v) for k, v in train(batch(number=2, seed=1), 1).items()})
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
