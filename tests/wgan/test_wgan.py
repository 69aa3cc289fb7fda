"""WGAN: who is updated when, what the penalty sees, which options are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.config import load_config, validate
from core.errors import UserError
from core.family import GenerativeFamily, SampleBatch
from core.losses import gradient_penalty
from core.options import TrainOptions
from core.training.step import Stepper
from core.training.update import Updater, clip_weights
from families import FAMILIES
from tests.conftest import ROOT
from tests.wgan.separate import SeparateWGAN
from wgan import official
from wgan.config import Model
from wgan.critic_schedule import trains_generator
from wgan.family import WGAN
from wgan.networks import Cifar10Critic, ResidualBlock, ResidualCritic, ResidualGenerator

WORDS = {"hair": ("blue", "red"), "eyes": ("green", "pink")}
NARROW: dict[str, Any] = {"nz": 6, "ngf": 4, "ndf": 4}

WIDE = {"ngf": 32, "ndf": 32}
"""Of a narrower perceptron all units may be off."""

ARCHITECTURES: dict[str, tuple[int, dict[str, Any]]] = {
    "dcgan": (32, {}),
    "dcgan-nonorm": (32, {"norm_critic": "none", "norm_gen": "none"}),
    "dcgan-clip": (32, {"norm_critic": "batch", "constraint": "clip"}),
    "resnet-32": (32, {"generator": "resnet", "critic": "resnet", "norm_critic": "none"}),
    "resnet-64": (64, {"generator": "resnet", "critic": "resnet"}),
    "cifar10": (32, {"generator": "cifar10", "critic": "cifar10", "norm_critic": "none"}),
    "mnist": (28, {"generator": "mnist", "critic": "mnist", "norm_critic": "none", "nc": 1}),
    "mlp": (12, {"generator": "mlp", "critic": "mlp", "norm_critic": "none", **WIDE}),
    "text": (32, {"text": {"vocabulary": WORDS, "interpolation": 1.0}}),
}
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def tree(size: int = 32, **sections: Mapping[str, Any]) -> dict[str, Any]:
    model = NARROW | dict(sections.get("model", {}))
    data = {"root": "nowhere", "load_size": size, "crop_size": size}
    if "text" in model:
        data["tags"] = "tags.csv"
    rest = {name: dict(part) for name, part in sections.items() if name != "model"}
    return {"family": "wgan", "data": data, "model": model, **rest}


def build(size: int = 32, **sections: Mapping[str, Any]) -> WGAN:
    torch.manual_seed(0)
    family = WGAN.build(validate(WGAN.Config, tree(size, **sections)))
    for network in family.networks.values():
        network.train()
    return family


def architecture(name: str, **model: Any) -> WGAN:
    size, options = ARCHITECTURES[name]
    return build(size, model=options | model)


def batch_for(family: WGAN, number: int = 4) -> SampleBatch:
    size, nc = family.config.data.crop_size, family.config.model.nc
    images = torch.rand(number, nc, size, size, generator=torch.Generator().manual_seed(1))
    captions = ["blue hair green eyes", "red hair pink eyes"] * number
    return SampleBatch(images * 2 - 1, ("",) * number, tuple(captions[:number]))


def step(family: WGAN, number: int = 0) -> tuple[dict[str, Tensor], list[set[str]]]:
    """One training step: its terms, and which networks each update moved."""
    moves: list[set[str]] = []
    update = Updater("cpu", list(family.networks.values()))

    def watched(optimizer: Any, *losses: Tensor) -> None:
        before = {n: [p.clone() for p in net.parameters()] for n, net in family.networks.items()}
        for network in family.networks.values():
            network.zero_grad()
        update(optimizer, *losses)
        graded = set()
        moved = set()
        for name, network in family.networks.items():
            after = list(network.parameters())
            if any(p.grad is not None for p in after):
                graded.add(name)
            if not all(torch.equal(p, q) for p, q in zip(after, before[name], strict=True)):
                moved.add(name)
        assert moved == graded, "frozen networks collect no gradients"
        moves.append(moved)

    update.begin()
    terms = family.training_step(batch_for(family), number, watched)
    update.finish()
    return terms, moves


# -- the critic's schedule ----------------------------------------------------------------------


def published_schedule(model: Model, steps: int) -> list[bool]:
    """The loop of the official `main.py`, critic update by critic update."""
    result: list[bool] = []
    generator_updates = 0
    while len(result) < steps:
        young = generator_updates < model.num_warm_up
        long = young or generator_updates % model.warm_up_every == 0
        number = model.num_critic_warm_up if long and model.num_critic_warm_up else model.num_critic
        result += [False] * (number - 1) + [True]
        generator_updates += 1
    return result[:steps]


def our_schedule(model: Model, steps: int) -> list[bool]:
    return [trains_generator(model, step) for step in range(steps)]


def test_schedule_of_the_official_warm_up() -> None:
    model = Model(num_critic=5, num_critic_warm_up=100, num_warm_up=25, warm_up_every=500)
    assert our_schedule(model, 8000) == published_schedule(model, 8000)


@given(
    num_critic=st.integers(1, 6),
    long=st.integers(0, 9),
    young=st.integers(0, 5),
    every=st.integers(1, 7),
)
@settings(max_examples=60, deadline=None)
def test_schedule_of_any_rule(num_critic: int, long: int, young: int, every: int) -> None:
    model = Model(
        num_critic=num_critic, num_critic_warm_up=long, num_warm_up=young, warm_up_every=every
    )
    assert our_schedule(model, 200) == published_schedule(model, 200)


# -- a training step --------------------------------------------------------------------------


@every_architecture
def test_critic_each_step_generator_in_its_turn(name: str) -> None:
    family = architecture(name, num_critic=2)
    assert isinstance(family, GenerativeFamily)
    first, moves = step(family, 0)
    assert moves == [{"D"}]
    assert "G" not in first
    second, moves = step(family, 1)
    assert moves == [{"D"}, {"G"}]
    assert "G" in second
    for terms in (first, second):
        assert family.objective in terms
        assert all(term.isfinite() and not term.requires_grad for term in terms.values())
        clip = family.config.model.constraint == "clip"
        assert ("gradient_penalty" in terms) != clip
        torch.testing.assert_close(terms["negative_critic_loss"], -terms["critic"])
    assert all(p.requires_grad for net in family.networks.values() for p in net.parameters())


@every_architecture
def test_samples_lie_in_the_range_of_pictures(name: str) -> None:
    family = architecture(name)
    noise = family.random_noise(3, torch.Generator().manual_seed(0))
    assert noise.shape == (3, family.noise_dim)
    conditions = family.vocabulary.encode(["blue hair"] * 3) if family.vocabulary else None
    images = family.sample(noise, conditions).detach()
    assert images.shape == (3, *batch_for(family).images.shape[1:])
    assert -1 <= float(images.min()) <= float(images.max()) <= 1


def test_mnist_networks_see_images_from_zero_to_one() -> None:
    family = architecture("mnist")
    seen: list[Tensor] = []
    family.networks["D"].register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    step(family)
    assert float(seen[0].min()) >= 0
    assert float(seen[0].max()) <= 1
    batch = batch_for(family)
    family.networks["G"].forward = lambda _noise: family.real_images(batch)
    torch.testing.assert_close(family.sample(torch.zeros(4, 6)), batch.images)


def test_a_generator_update_may_see_more_fakes_than_a_critic_update() -> None:
    family = build(model={"gen_batch_factor": 3, "num_critic": 1})
    sizes: list[int] = []
    family.networks["G"].register_forward_hook(lambda _m, _i, output: sizes.append(len(output)))
    step(family)
    assert sizes == [4, 12]


@pytest.mark.parametrize("convention", ["official", "paper"])
def test_when_weights_are_clipped(convention: str) -> None:
    clip = 0.02
    options = {"constraint": "clip", "clip": clip, "clip_convention": convention}
    family = build(model={**options, "norm_critic": "batch"}, optim={"optimizer": "rmsprop"})
    D = family.networks["D"]
    largest: list[float] = []

    def note(*_: Any) -> None:
        largest.append(max(float(p.detach().abs().max()) for p in D.parameters()))

    D.register_forward_pre_hook(note)
    statistics = {k: v.clone() for k, v in D.state_dict().items() if "running" in k}
    step(family)
    note()
    limit = pytest.approx(clip)
    if convention == "official":
        assert largest[0] == limit
        assert largest[-1] > clip * (1 + 1e-6), "not clipped again after the update"
    else:
        assert largest[0] > 1, "batch norm scales start near 1"
        assert largest[-1] == limit
    changed = {k: v for k, v in D.state_dict().items() if k in statistics}
    assert any(float(v.abs().max()) > clip for v in changed.values()), "statistics are not clipped"


def test_the_official_sign_is_the_papers_with_the_last_layer_negated() -> None:
    results = []
    for convention in ("official", "paper"):
        # A bound that nothing reaches: when weights are clipped makes no difference.
        options = {"constraint": "clip", "clip": 1e3, "clip_convention": convention}
        family = build(model={**options, "num_critic": 1}, optim={"optimizer": "rmsprop"})
        (*_, last) = family.networks["D"].parameters()
        if convention == "official":
            last.data.neg_()
        torch.manual_seed(5)
        terms, _ = step(family)
        if convention == "official":
            last.data.neg_()
        results.append((terms, {n: net.state_dict() for n, net in family.networks.items()}))
    (official_terms, official_networks), (terms, networks) = results
    assert terms["critic"] == terms["critic_fake"] - terms["critic_real"]
    assert terms == official_terms
    for name, state in networks.items():
        assert all(torch.equal(official_networks[name][key], v) for key, v in state.items())


def test_captions_make_the_critic_matching_aware() -> None:
    family = architecture("text")
    terms, _ = step(family)
    expected = 0.5 * (terms["critic_fake"] + terms["critic_wrong"]) - terms["critic_real"]
    torch.testing.assert_close(terms["critic_adversarial"], expected)
    torch.testing.assert_close(terms["critic"], expected + terms["gradient_penalty"])


@pytest.mark.parametrize("name", ["dcgan", "resnet-64", "text"])
def test_one_forward_over_real_and_fake_is_the_same(name: str) -> None:
    results = []
    for kind in (WGAN, SeparateWGAN):
        family = architecture(name, num_critic=1)
        torch.manual_seed(5)
        results.append(step(kind(family.config, family.networks))[0])
    for term, value in results[0].items():
        torch.testing.assert_close(results[1][term], value, rtol=1e-4, atol=1e-6)


# -- the penalty ------------------------------------------------------------------------------


def penalty_and_gradients(critic: nn.Module, size: int, autocast: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    real, fake = (torch.rand(3, 3, size, size, generator=generator) for _ in range(2))
    alpha = torch.rand(3, 1, generator=generator)
    critic.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        critic(real)  # leaves bf16 copies of the weights in autocast's cache
        value = gradient_penalty(critic, real, fake, alpha=alpha)
    value.backward()
    grads = [p.grad.clone() for p in critic.parameters() if p.grad is not None]
    assert value.dtype == torch.float32
    return [value.detach(), *grads]


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_the_penalty_is_the_same_under_autocast(norm: Any) -> None:
    torch.manual_seed(0)
    critic = ResidualCritic(64, dim=2, norm=norm)
    plain, half = (penalty_and_gradients(critic, 64, autocast) for autocast in (False, True))
    assert len(plain) > 20
    assert all(torch.equal(x, y) for x, y in zip(plain, half, strict=True))


def test_the_penalty_is_the_same_of_a_compiled_critic() -> None:
    torch.manual_seed(0)
    critic = Cifar10Critic(dim=1)
    plain = penalty_and_gradients(critic, 32)
    critic.compile(backend="aot_eager")
    compiled = penalty_and_gradients(critic, 32)
    assert all(torch.equal(x, y) for x, y in zip(plain, compiled, strict=True))
    x = torch.rand(3, 3, 32, 32, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"double backward|donated buffers"):
        # What would happen otherwise.
        torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].square().sum().backward()


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_second_derivatives_are_right(norm: Any) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(2, 3, "down", lambda c: nn.GroupNorm(1, c), bias=False).double()
    if norm == "none":
        block.norm1 = block.norm2 = nn.Identity()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, (x,))


def test_the_generator_gets_gradients_under_autocast() -> None:
    # In older torch, casts that autocast made without gradients serve the second forward too.
    family = build(model={"num_critic": 1})
    stepper = Stepper(family, TrainOptions(precision="bf16"), torch.device("cpu"))
    before = [p.clone() for p in family.networks["G"].parameters()]
    stepper(batch_for(family), 0)
    after = family.networks["G"].parameters()
    assert all(p.grad is not None for p in family.networks["G"].parameters())
    assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


# -- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64, 128])
def test_residual_networks_start_as_published(size: int) -> None:
    torch.manual_seed(0)
    network = ResidualGenerator(size, dim=32)
    image = network(torch.randn(2, 128))
    assert image.shape == (2, 3, size, size)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            area = weight[0, 0].numel() if weight.dim() == 4 else 1
            fans = (weight.shape[0] + weight.shape[1]) * area
            he = "conv" in name or (name == "output" and size > 32)
            std = math.sqrt((4 if he else 2) / fans)
            assert float(weight.abs().max()) <= std * math.sqrt(3)
            assert float(weight.std()) == pytest.approx(std, rel=0.1), name
            assert module.bias is None or not module.bias.any()


def test_residual_block_is_its_definition() -> None:
    torch.manual_seed(0)
    for resample, shape in (("up", 16), ("down", 4), ("none", 8)):
        block = ResidualBlock(3, 5, resample, nn.BatchNorm2d, bias=True)  # type: ignore[arg-type]
        x = torch.randn(2, 3, 8, 8)
        up = nn.Upsample(scale_factor=2) if resample == "up" else nn.Identity()
        down = nn.AvgPool2d(2) if resample == "down" else nn.Identity()
        y = block.conv1(up(block.norm1(x).relu()))
        y = down(block.conv2(block.norm2(y).relu()))
        # The published order of the shortcut: resample after or before, 1x1 convolution either way.
        expected = y + down(block.shortcut(up(x)))
        assert block(x).shape == (2, 5, shape, shape)
        torch.testing.assert_close(block(x), expected)


def test_clipping_leaves_what_is_within() -> None:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -3.0]]))
        layer.bias.fill_(0.25)
    clip_weights(layer, 0.4)
    torch.testing.assert_close(layer.weight, torch.tensor([[0.4, -0.4]]))
    assert layer.bias.item() == 0.25
    assert layer.weight.requires_grad


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ({"norm_critic": "batch"}, "couple samples"),
        ({"generator": "mnist"}, "mnist for both generator and critic"),
        ({"generator": "resnet", "norm_gen": "none"}, "generator: dcgan only"),
        ({"critic": "mlp"}, "set norm_critic: none"),
        ({"critic": "resnet", "norm_critic": "batch", "constraint": "clip"}, "critic: dcgan only"),
        ({"generator": "resnet", "text": {}}, "text needs generator: dcgan"),
        ({"generator": "resnet", "ngf": [8, 4]}, "a list of widths"),
        ({"critic": "cifar10", "norm_critic": "none"}, "makes images of 32 px"),
        ({"ndf": [8, 4]}, "ndf"),
        ({"clip": 0.0}, "greater than 0"),
        ({"num_critic": 0}, "greater than or equal to 1"),
    ],
)
def test_model_options_that_do_not_go_together(model: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError) as caught:
        validate(WGAN.Config, tree(64, model=model))
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_other_options_that_do_not_go_together() -> None:
    with pytest.raises(UserError, match="recompute nothing"):
        validate(WGAN.Config, tree(train={"gradient_checkpointing": True}))
    with pytest.raises(UserError, match="go together"):
        validate(WGAN.Config, tree() | {"data": {"root": "x", "tags": "tags.csv"}})


def test_what_is_not_the_networks_is_refused() -> None:
    family = architecture("cifar10")
    with pytest.raises(UserError, match=r"noise of shape \[2, 7\].*\[N, 6\]"):
        family.sample(torch.zeros(2, 7))
    with pytest.raises(UserError, match="trained without captions"):
        family.sample(torch.zeros(2, 6), torch.zeros(2, 4))
    talking = architecture("text")
    with pytest.raises(UserError, match=r"needs conditions \[N, 4\]"):
        talking.sample(torch.zeros(2, 6))
    with pytest.raises(UserError, match=r"conditions of shape \[2, 3\]: this model takes \[N, 4\]"):
        talking.sample(torch.zeros(2, 6), torch.zeros(2, 3))


def test_float64_goes_through() -> None:
    family = architecture("resnet-32", num_critic=1)
    for network in family.networks.values():
        network.double()
    batch = batch_for(family)
    batch = SampleBatch(batch.images.double(), batch.names, batch.captions)
    terms = family.training_step(batch, 0, Updater("cpu", list(family.networks.values())))
    assert {term.dtype for term in terms.values()} == {torch.float64}


# -- files ------------------------------------------------------------------------------------


def test_the_newest_epoch_of_a_folder_is_taken(tmp_path: Path) -> None:
    for name in ("netG_epoch_9.pth", "netG_epoch_10.pth", "netD_epoch_10.pth", "netG_epoch_x.pth"):
        (tmp_path / name).touch()
    found = official.files(tmp_path)
    assert {k: v.name for k, v in found.items()} == {
        "netG": "netG_epoch_10.pth",
        "netD": "netD_epoch_10.pth",
    }
    assert official.files(tmp_path / "netD_epoch_10.pth").keys() == {"netD"}
    assert official.files(tmp_path / "netG_epoch_9.pth").keys() == {"netG"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="netG_epoch_<epoch>"):
        official.files(tmp_path / "empty")
    with pytest.raises(UserError, match="no such file"):
        official.files(tmp_path / "absent")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - {"text"}))
def test_every_network_survives_its_official_file(name: str) -> None:
    family = architecture(name, num_critic=1)
    step(family)  # so that running statistics are not those of the beginning
    states = {file.partition("_")[0]: s for file, s in official.to_files(family).items()}
    again = official.from_official(states)
    assert again.config.data.crop_size == family.config.data.crop_size
    for key, network in family.networks.items():
        state = again.networks[key].state_dict()
        assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())
    only = official.from_official({"netG": states["netG"]})
    assert only.networks.keys() == {"G"}


@pytest.mark.parametrize(
    ("states", "part"),
    [
        ({"netG": {"weight": torch.zeros(1)}}, "no `main.0.weight`"),
        ({"netG": {"main.extra-layers-0:64:conv.weight": torch.zeros(1)}}, "extra layers"),
        ({"netG": {"Input.weight": torch.zeros(1, 1)}}, "no `Output.weight`"),
        ({}, "holds neither"),
    ],
)
def test_other_files_are_refused(states: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        official.from_official(states, source="file")


def test_networks_of_different_sizes_are_refused() -> None:
    states = {f.partition("_")[0]: s for f, s in official.to_files(build(32)).items()}
    other = {f.partition("_")[0]: s for f, s in official.to_files(build(64)).items()}
    with pytest.raises(UserError, match="different sizes"):
        official.from_official({"netG": states["netG"], "netD": other["netD"]})


# -- configs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "wgan").glob("*.yaml")), ids=lambda p: p.stem
)
def test_configs_state_the_published_values(path: Path) -> None:
    config: Any = load_config(path, FAMILIES)
    assert config.name == f"wgan/{path.stem}"
    model, optim = config.model, config.optim
    if model.constraint == "clip":
        assert (optim.optimizer, optim.lr, model.clip) == ("rmsprop", 5e-5, 0.01)
        assert model.norm_critic == "batch"
    else:
        assert (optim.optimizer, model.lambda_gp, optim.beta2) == ("adam", 10.0, 0.9)
    assert model.num_critic == 5
    assert optim.beta1 == (0.0 if model.generator == "resnet" else 0.5)
