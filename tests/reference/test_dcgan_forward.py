"""Generator and discriminator at every size and width of the cases, in both modes."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from core.checkpoints.official_layout import to_official
from core.nn.dcgan import dis_channels, gen_channels
from dcgan.family import DCGAN
from dcgan.losses import adversarial_loss
from dcgan.official import from_official
from tests.reference.cases import Case, agree, each, no_initial_weights
from tests.reference.dcgan_cases import array_bounds, load, loss_bounds
from tests.reference.training import every_dtype, float32_bound, numbers_agree, summary


def suffixes(case: Case) -> list[str]:
    """Several pairs of networks may stand in one case: "_32", "_many", or "" for the only one."""
    found = [name.removeprefix("netG") for name in case.data["spec"] if name.startswith("netG")]
    assert found
    assert {f"net{n}{s}" for s in found for n in "GD"} == case.data["spec"].keys()
    return found


def inputs(case: Case, suffix: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    names = (n + suffix if case.has(n + suffix) else n for n in ("z", "real"))
    z, real = (case.input(name, dtype) for name in names)
    return z.flatten(1), real


@torch.no_grad()
def outputs(case: Case, family: DCGAN, suffix: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Under every name that a case may give them, for the networks' mode."""
    G, D = family.networks["G"], family.networks["D"]
    z, real = inputs(case, suffix, dtype)
    ending = ("" if G.training else "_eval") + suffix
    fake = G(z)
    found = {f"fake{ending}": fake}
    for name, logits in (("real", D(real)), ("fake", D(fake))):
        found[f"logit_{name}{ending}"] = logits
        found[f"d_{name}{ending}"] = logits.sigmoid()
    return found


def scalars(found: dict[str, Tensor], suffix: str) -> dict[str, float]:
    fake, on_real, on_fake = (found[n + suffix] for n in ("fake", "logit_real", "logit_fake"))
    err = adversarial_loss(on_real, torch.ones_like(on_real), "vanilla") + adversarial_loss(
        on_fake, torch.zeros_like(on_fake), "vanilla"
    )
    named = {
        "mean_d_real": on_real.sigmoid().mean(),
        "mean_d_fake": on_fake.sigmoid().mean(),
        "mean_prob_real": on_real.sigmoid().mean(),
        "mean_prob_fake": on_fake.sigmoid().mean(),
        "mean_fake": fake.mean(),
        "l2_fake": fake.norm(),
        "errD": err,
    }
    return {name + suffix: value.item() for name, value in named.items()}


@each("dcgan_forward")
@every_dtype
def test_outputs(case: Case, dtype: torch.dtype) -> None:
    ours: dict[str, Tensor] = {}
    losses: dict[str, float] = {}
    for suffix in suffixes(case):
        family = load(case, dtype, suffix)
        for training in (False, True):
            for network in family.networks.values():
                network.train(training)
            ours |= outputs(case, family, suffix, dtype)
        losses |= scalars(ours, suffix)
        for name, golden in case.data.get("after_forward_buffers", {}).items():
            network = family.networks[name.removesuffix(suffix)[-1]]
            found = {key: summary(value) for key, value in to_official(network).items()}
            sharp = dtype == torch.float64
            bound = 1e-9 if sharp else float32_bound(case, "after_forward_buffers")
            numbers_agree(found, golden, rel=bound, abs=bound, at=name)
    agree(ours, case.arrays, **array_bounds(case, dtype))
    numbers_agree(losses, case.data["losses"], **loss_bounds(case, dtype))


@each("dcgan_forward")
def test_every_layer(case: Case) -> None:
    for name, layers in case.data.get("activation_stats", {}).items():
        network, _, which = name.partition("_")
        assert which in ("", "real"), name
        z, real = inputs(case, "", torch.float64)
        module = load(case, torch.float64).networks[network[-1]]
        seen: dict[str, list[float]] = {}

        def note(
            layer: str, output: Tensor, seen: dict[str, list[float]] = seen
        ) -> None:  # at once: the next layer may work in place
            seen[layer] = summary(output)

        main = module.get_submodule("main")
        assert isinstance(main, nn.Sequential)
        for index, layer in enumerate(main):
            layer.register_forward_hook(
                lambda _module, _inputs, output, key=f"main.{index}": note(key, output)
            )
        with torch.no_grad():
            logits = module(real if which else z)
        if network == "netD":  # the published sigmoid, which is part of our loss
            note(f"main.{len(main)}", logits.sigmoid())
        assert seen.keys() == layers.keys()
        for key, (total, norm) in layers.items():
            expected = pytest.approx([total, norm], rel=1e-9, abs=1e-8 * norm)
            assert seen[key] == expected, key


@each("dcgan_forward")
def test_widths_as_lists(case: Case) -> None:
    """The lists of a course's table mean what the case says: 512-256-128 is ngf 128."""
    for name, text in case.data["architecture"].get("how the lists map", {}).items():
        widths = case.data["hyperparameters"]["widths"].get(name)
        if widths is None:  # the explanation
            continue
        found = re.search(r"G ([\d-]+) / D ([\d-]+)", text)
        assert found is not None, text
        gen, dis = ([int(n) for n in part.split("-")] for part in found.groups())
        size = 4 * 2 ** len(gen)
        assert gen_channels(tuple(gen[:-1]), size) == gen_channels(widths["ngf"], size)
        assert dis_channels(tuple(dis[1:]), size) == dis_channels(widths["ndf"], size)


@each("dcgan_forward")
@pytest.mark.parametrize("variant", ["as_written", "before_0_4_1", "module_prefix"])
def test_files_come_back_bit_for_bit(case: Case, variant: str) -> None:
    counts = case.data.get("parameter_counts", {})
    for suffix in suffixes(case):
        states = {name: case.weights(name + suffix) for name in ("netG", "netD")}
        given = {
            name: {
                f"module.{key}" if variant == "module_prefix" else key: value
                for key, value in state.items()
                if variant != "before_0_4_1" or not key.endswith("num_batches_tracked")
            }
            for name, state in states.items()
        }
        with no_initial_weights():
            family = from_official(given)
        for name, state in states.items():
            written = to_official(family.networks[name[-1]])
            assert written.keys() == state.keys()
            assert all(torch.equal(written[key], value) for key, value in state.items())
            count = sum(p.numel() for p in family.networks[name[-1]].parameters())
            of_pair = counts.get(suffix.removeprefix("_"), {})
            assert count == of_pair.get(name, counts.get(name + suffix, count))
