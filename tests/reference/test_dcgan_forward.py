"""Generator and discriminator at every size and width of the cases, in both modes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from core.checkpoints.official_layout import to_official
from core.nn.dcgan import dis_channels, gen_channels
from dcgan.family import DCGAN
from dcgan.losses import adversarial_loss
from dcgan.official import from_official
from tests.reference.cases import Case, close, each
from tests.reference.dcgan_cases import load, rtol, summary


def suffixes(case: Case) -> list[str]:
    """Several pairs of networks may stand in one case: "_32", "_many", or "" for the only one."""
    found = [name.removeprefix("netG") for name in case.data["spec"] if name.startswith("netG")]
    assert found
    assert {f"net{n}{s}" for s in found for n in "GD"} == case.data["spec"].keys()
    return found


@dataclass(frozen=True)
class Outputs:
    fake: Tensor
    on_real: Tensor
    on_fake: Tensor

    def arrays(self, suffix: str, ending: str = "") -> Iterator[tuple[str, Tensor]]:
        """Under every name that a case may give them."""
        yield f"fake{ending}{suffix}", self.fake
        for name, logits in (("real", self.on_real), ("fake", self.on_fake)):
            yield f"d_{name}{ending}{suffix}", logits.sigmoid()
            yield f"logit_{name}{ending}{suffix}", logits

    def scalars(self, suffix: str) -> dict[str, float]:
        on_real, on_fake = self.on_real, self.on_fake
        err = adversarial_loss(on_real, torch.ones_like(on_real), "vanilla") + adversarial_loss(
            on_fake, torch.zeros_like(on_fake), "vanilla"
        )
        named = {
            "mean_d_real": on_real.sigmoid().mean(),
            "mean_d_fake": on_fake.sigmoid().mean(),
            "mean_prob_real": on_real.sigmoid().mean(),
            "mean_prob_fake": on_fake.sigmoid().mean(),
            "mean_fake": self.fake.mean(),
            "l2_fake": self.fake.norm(),
            "errD": err,
        }
        return {name + suffix: value.item() for name, value in named.items()}


def inputs(case: Case, suffix: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    names = (n + suffix if case.has(n + suffix) else n for n in ("z", "real"))
    z, real = (case.input(name, dtype) for name in names)
    return z.flatten(1), real


@torch.no_grad()
def forward(case: Case, family: DCGAN, suffix: str, dtype: torch.dtype) -> Outputs:
    z, real = inputs(case, suffix, dtype)
    G, D = family.networks["G"], family.networks["D"]
    fake = G(z)
    return Outputs(fake, D(real), D(fake))


@each("dcgan_forward")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_outputs(case: Case, dtype: torch.dtype) -> None:
    golden = case.arrays
    sharp = dtype == torch.float64
    bound = {"rtol": 1e-6, "atol": 1e-6}
    if not sharp:
        bound = {"rtol": rtol(case, "arrays"), "atol": rtol(case, "arrays", word="atol")}
    losses = dict(case.data["losses"])
    for suffix in suffixes(case):
        family = load(case, dtype, suffix)
        if f"fake_eval{suffix}" in golden:
            for network in family.networks.values():
                network.eval()
            for name, value in forward(case, family, suffix, dtype).arrays(suffix, "_eval"):
                if name in golden:
                    close(value, golden.pop(name), **bound)
            for network in family.networks.values():
                network.train()
        outputs = forward(case, family, suffix, dtype)
        for name, value in outputs.arrays(suffix):
            if name in golden:
                close(value, golden.pop(name), **bound)
        scalars = outputs.scalars(suffix)
        for name in [name for name in losses if name in scalars]:
            rel = 1e-9 if sharp else rtol(case, "losses")
            assert scalars[name] == pytest.approx(losses.pop(name), rel=rel), name
        expected = case.data.get("after_forward_buffers", {})
        for net in "GD":
            state = to_official(family.networks[net])
            for key, value in expected.get(f"net{net}{suffix}", {}).items():
                rel = 1e-9 if sharp else rtol(case, "after_forward_buffers")
                assert summary(state[key]) == pytest.approx(value, rel=rel, abs=rel), key
    assert not golden, f"arrays that no forward gave: {sorted(golden)}"
    assert not losses, f"numbers that no forward gave: {sorted(losses)}"


@each("dcgan_forward")
def test_every_layer(case: Case) -> None:
    for name, layers in case.data.get("activation_stats", {}).items():
        network, _, which = name.partition("_")
        family = load(case, torch.float64)
        z, real = inputs(case, "", torch.float64)
        module = family.networks[network[-1]]
        seen: dict[str, list[float]] = {}

        def note(layer: str, output: Tensor, seen: dict[str, list[float]] = seen) -> None:
            seen[layer] = summary(output)

        main = module.get_submodule("main")
        assert isinstance(main, nn.Sequential)
        for index, layer in enumerate(main):
            layer.register_forward_hook(
                lambda _module, _inputs, output, key=f"main.{index}": note(key, output)
            )
        assert which in ("", "real"), name
        with torch.no_grad():
            logits = module(real if which else z)
        if network == "netD":  # the published sigmoid, which is part of our loss
            note(f"main.{len(main)}", logits.sigmoid())
        assert seen.keys() == layers.keys()
        for key, (total, norm) in layers.items():
            assert seen[key] == pytest.approx([total, norm], rel=1e-9, abs=1e-8 * norm), key


@each("dcgan_forward")
def test_parameter_counts(case: Case) -> None:
    counts = dict(case.data["parameter_counts"])
    for suffix in suffixes(case):
        family = load(case, torch.float32, suffix)
        own = {f"net{n}": sum(p.numel() for p in net.parameters()) for n, net in nets(family)}
        expected = counts.get(suffix.removeprefix("_"), {n: counts.get(n + suffix) for n in own})
        assert own == expected


def nets(family: DCGAN) -> list[tuple[str, nn.Module]]:
    return list(family.networks.items())


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
        assert gen_channels(tuple(gen[:-1]), 64) == gen_channels(widths["ngf"], 64)
        assert dis_channels(tuple(dis[1:]), 64) == dis_channels(widths["ndf"], 64)


@each("dcgan_forward")
@pytest.mark.parametrize("variant", ["as_written", "before_0_4_1", "module_prefix"])
def test_files_come_back_bit_for_bit(case: Case, variant: str) -> None:
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
        family = from_official(given)
        for name, state in states.items():
            written = to_official(family.networks[name[-1]])
            assert written.keys() == state.keys()
            assert all(torch.equal(written[key], value) for key, value in state.items())
