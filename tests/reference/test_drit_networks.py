"""DRIT's networks one by one: outputs, gradients, a discriminator's update, test outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.report.pictures import to_pil
from core.training.update import Updater, frozen
from drit.family import DRIT
from drit.losses import fooled, undecided
from drit.networks import Domain, sample
from tests.reference.cases import Case, close, each
from tests.reference.drit_cases import assert_gradients, build, norms, optional, summary

PRECISIONS = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32], ids=["float64", "float32"]
)
BOTH: tuple[tuple[Domain, str], ...] = (("A", "a"), ("B", "b"))


def agree(case: Case, outputs: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Every golden array, and only those."""
    golden = case.arrays
    bounds: dict[str, float] = {"rtol": 1e-6, "atol": 1e-6}
    if dtype == torch.float32:
        bounds = {key: case.data["tolerance"]["outputs"][key] for key in ("rtol", "atol")}
    for name, value in golden.items():
        close(outputs[name].reshape(value.shape), value, **bounds)
    assert outputs.keys() == golden.keys()


def project(case: Case, outputs: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    """The case's scalar: mean of each output times its weight, summed."""
    terms = [(value * case.input(name, dtype)).mean() for name, value in outputs.items()]
    return torch.stack(terms).sum()


def check_projection(
    case: Case, family: DRIT, network: str, outputs: dict[str, Tensor], dtype: torch.dtype
) -> None:
    loss = project(case, outputs, dtype)
    loss.backward()
    single = dtype == torch.float32
    stated = case.data["tolerance"]
    losses = stated["losses"] if single else {"rtol": 1e-9, "atol": 1e-12}
    golden = pytest.approx(
        case.data["losses"]["projection"], rel=losses["rtol"], abs=losses["atol"]
    )
    assert loss.item() == golden
    assert_gradients(
        norms(family.networks[network]),
        case.data["grad_l2"]["projection"][network],
        stated["grad_l2"]["projection"] if single else None,
    )


@each("drit/attribute_encoder")
@PRECISIONS
def test_attribute_encoder(case: Case, dtype: torch.dtype) -> None:
    family = build(case, dtype)
    assert family.config.model.concat == bool(case.hyper["concat"])
    outputs, weighted = {}, {}
    for domain, small in BOTH:
        mean, logvar = family.networks["enc_a"](case.input(f"image_{small}", dtype), domain)
        named = {f"attribute_{small}": mean}
        if logvar is not None:
            named = {f"mu_{small}": mean, f"logvar_{small}": logvar}
            eps = optional(case, f"eps_{small}", dtype)
            outputs[f"sample_{small}"] = sample(mean, logvar, eps)
        outputs |= named
        weighted |= {f"weight_{name}": value for name, value in named.items()}
    agree(case, outputs, dtype)
    check_projection(case, family, "enc_a", weighted, dtype)


@each("drit/content_encoder")
@PRECISIONS
def test_content_encoder(case: Case, dtype: torch.dtype) -> None:
    family, outputs, weighted = build(case, dtype), {}, {}
    for domain, small in BOTH:
        content = family.networks["enc_c"](case.input(f"image_{small}", dtype), domain)
        noisy = content + case.input(f"noise_content_{small}", dtype)
        outputs |= {f"content_{small}_eval": content, f"content_{small}_train": noisy}
        weighted[f"weight_{small}"] = noisy
    agree(case, outputs, dtype)
    check_projection(case, family, "enc_c", weighted, dtype)


@each("drit/generator")
@PRECISIONS
def test_generator(case: Case, dtype: torch.dtype) -> None:
    family = build(case, dtype)
    assert family.config.model.concat == bool(case.hyper["concat"])
    content, attribute = (
        case.input(name, dtype).requires_grad_() for name in ("content", "attribute")
    )
    images = {small: family.networks["gen"](content, attribute, domain) for domain, small in BOTH}
    weighted = {f"weight_{small}": image for small, image in images.items()}
    check_projection(case, family, "gen", weighted, dtype)
    assert content.grad is not None
    assert attribute.grad is not None
    rel = 1e-8 if dtype == torch.float64 else case.data["tolerance"]["values"]["rtol"]
    for name, value in (("content", content.grad), ("attribute", attribute.grad)):
        golden = case.data["values"][f"gradient_l2_{name}"]
        assert value.norm().item() == pytest.approx(golden, rel=rel)
    outputs = {f"image_{small}": image for small, image in images.items()}
    agree(case, outputs | {"gradient_attribute": attribute.grad}, dtype)


class Recorded:
    """Checks one update of one network against a case's stages."""

    def __init__(self, case: Case, family: DRIT, name: str, stage: str, dtype: torch.dtype) -> None:
        self.case, self.name, self.stage = case, name, stage
        self.network, self.single = family.networks[name], dtype == torch.float32
        self.before = {k: p.detach().clone() for k, p in self.network.named_parameters()}
        self.unclipped: dict[str, float] = {}
        for key, parameter in self.network.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda p, key=key: self.unclipped.update({key: p.grad.double().norm().item()})
            )

    def stated(self, table: str, stage: str) -> Any:
        return self.case.data["tolerance"][table][stage] if self.single else None

    def check(self) -> None:
        grads, name, stage = self.case.data["grad_l2"], self.name, self.stage
        assert_gradients(norms(self.network), grads[stage][name], self.stated("grad_l2", stage))
        before = f"{stage}_before_clipping"
        if before in grads:
            assert_gradients(self.unclipped, grads[before][name], self.stated("grad_l2", before))
        for table in ("after_step", "update"):
            bounds = self.stated(table, stage)
            root_atol = bounds["sum_atol_per_square_root_of_element_count"] if bounds else 1e-9
            rel = bounds["l2_rtol"] if bounds else 1e-7
            for key, (total, norm) in self.case.data[table][stage][name].items():
                value = self.network.get_parameter(key).detach()
                value = value if table == "after_step" else value - self.before[key]
                our_total, our_norm = summary(value)
                atol = root_atol * value.numel() ** 0.5
                assert our_total == pytest.approx(total, rel=1e-9, abs=atol), (table, key)
                assert our_norm == pytest.approx(norm, rel=rel), (table, key)


def losses_agree(case: Case, ours: dict[str, Tensor], dtype: torch.dtype) -> None:
    stated = case.data["tolerance"]["losses"]
    rel, atol = (1e-9, 1e-12) if dtype == torch.float64 else (stated["rtol"], stated["atol"])
    assert ours.keys() == case.data["losses"].keys()
    for name, golden in case.data["losses"].items():
        assert ours[name].item() == pytest.approx(golden, rel=rel, abs=atol), name


@each("drit/discriminator")
@PRECISIONS
def test_discriminator(case: Case, dtype: torch.dtype) -> None:
    (name,) = case.data["spec"]
    real, fake = case.input("real", dtype), case.input("fake", dtype)
    outputs: dict[str, Tensor] = {}

    def keep(label: str, logits: list[Tensor]) -> None:
        outputs.update({f"{label}_scale{i}": x.detach() for i, x in enumerate(logits)})

    family = build(case, dtype)
    assert family.config.model.dis_scale == case.hyper["dis_scale"]
    spectral = case.hyper["dis_spectral_norm"]
    assert family.config.model.dis_spectral_norm == spectral
    dis = family.networks[name]
    keep("logits_eval_weight_as_loaded" if spectral else "logits_eval", dis.eval()(real))
    if spectral:
        keep("logits_train_call1", dis.train()(real))
        for key, value in dis.named_buffers():
            if key.endswith("weight_u"):
                outputs[f"u_after_call1_{key}"] = value.clone()
        keep("logits_train_call2", dis(real))
        keep("logits_eval_after_call2", dis.eval()(real))

    for joint in (True, False):
        family = build(case, dtype, joint=joint)
        dis = family.networks[name]
        recorded = Recorded(case, family, name, "discriminator_update", dtype)
        loss = family.discriminator_loss(name, real, [fake])
        Updater()(family.optimizers[name], loss)
        for key, value in dis.named_buffers():
            if key.endswith("weight_u"):
                outputs[f"u_after_update_{key}"] = value.clone()
        recorded.check()
        images = fake.clone().requires_grad_()
        with frozen(dis):
            after = fooled(dis(images))
        after.backward()
        losses = {"discriminator": loss, "generator_after_update": after}
        losses_agree(case, losses, dtype)
        rel = 1e-7 if dtype == torch.float64 else case.data["tolerance"]["values"]["rtol"]
        golden = case.data["values"]["gradient_l2_fake_from_generator_loss"]
        assert images.grad is not None
        assert images.grad.norm().item() == pytest.approx(golden, rel=rel)
    agree(case, outputs, dtype)


@each("drit/content_discriminator")
@PRECISIONS
def test_content_discriminator(case: Case, dtype: torch.dtype) -> None:
    hyper, name = case.hyper, "disContent"
    content = {s: hyper["input_scale"] * case.input(f"content_{s}", dtype) for s in ("a", "b")}
    family = build(case, dtype)
    dis = family.networks[name]
    logits = {f"logits_{s}": dis(each)[0].detach() for s, each in content.items()}
    agree(case, logits, dtype)

    # The case states this network's own rate, so that there is no other one to be a share of.
    family.config = family.config.model_copy(
        update={
            "model": family.config.model.model_copy(update={"clip_content": hyper["clip_max_norm"]})
        }
    )
    for group in family.optimizers[name].param_groups:
        group["lr"] = hyper["lr"]
    recorded = Recorded(case, family, name, "content_update", dtype)
    loss = family.update_content(content["a"], content["b"], Updater())
    recorded.check()
    images = content["a"].clone().requires_grad_()
    with frozen(dis):
        after = undecided(dis(images))
    after.backward()
    losses = {"content_discriminator": loss, "generator_content_a_after_update": after}
    losses_agree(case, losses, dtype)
    assert images.grad is not None
    rel = 1e-7 if dtype == torch.float64 else case.data["tolerance"]["values"]["rtol"]
    total = torch.tensor(list(recorded.unclipped.values())).norm().item()
    values = case.data["values"]
    assert total == pytest.approx(
        values["content_update_total_grad_norm_before_clipping"], rel=max(rel, 1e-6)
    )
    golden = values["gradient_l2_content_a_from_generator_loss"]
    assert images.grad.norm().item() == pytest.approx(golden, rel=rel)


@each("drit/test_outputs")
@PRECISIONS
def test_outputs(case: Case, dtype: torch.dtype) -> None:
    """Random attributes through `translate`; example-guided ones with the official sampling."""
    family, outputs = build(case, dtype), {}
    for network in family.networks.values():
        network.eval()
    images = {s: case.input(f"image_{s}", dtype) for s in ("a", "b")}
    ways: tuple[tuple[Any, str, str, str], ...] = (
        ("AtoB", "a2b", "a", "b"),
        ("BtoA", "b2a", "b", "a"),
    )
    with torch.no_grad():
        for direction, label, source, target in ways:
            number = 0
            while case.has(f"z_random_{label}_{number}"):
                style = case.input(f"z_random_{label}_{number}", dtype)
                fake = family.translate(images[source], direction, style)
                outputs[f"random_{label}_{number}"] = fake
                number += 1
            domain: Domain = "A" if target == "a" else "B"
            mean, logvar = family.networks["enc_a"](images[target], domain)
            assert torch.equal(mean, family.encode_style(images[target], direction))
            style = sample(mean, logvar, optional(case, f"eps_{target}_{label}", dtype))
            content = family.encode_content(images[source], direction)
            outputs[f"transfer_{label}"] = family.decode(content, style, direction)
    golden = case.arrays
    for name in [name for name in golden if name.endswith("_uint8")]:
        # Ours are rounded, the official ones cut off.
        picture = to_pil(outputs[name.removesuffix("_uint8")][0].float())
        ours = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        difference = ours.int() - golden[name].flatten().int()
        assert difference.abs().max() <= 1
        outputs[name] = golden[name]
    agree(case, outputs, dtype)
