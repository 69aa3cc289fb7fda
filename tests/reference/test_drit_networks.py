"""DRIT's networks one by one: outputs, gradients, a discriminator's update, test outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from core.report.pictures import to_pil
from core.training.update import Updater, frozen
from drit.family import DRIT
from drit.losses import fooled, undecided
from drit.networks import Domain, sample
from tests.reference.cases import Case, each
from tests.reference.drit_cases import (
    Steps,
    build,
    gradients_agree,
    losses_agree,
    norms,
    optional,
    outputs_agree,
    stage_agrees,
    values_agree,
)
from tests.reference.training import every_dtype

BOTH: tuple[tuple[Domain, str], ...] = (("A", "a"), ("B", "b"))


def check_projection(
    case: Case, family: DRIT, network: str, outputs: dict[str, Tensor], dtype: torch.dtype
) -> None:
    """The case's scalar, the mean of each output times its weight, summed; and its gradients."""
    terms = [(value * case.input(name, dtype)).mean() for name, value in outputs.items()]
    loss = torch.stack(terms).sum()
    loss.backward()
    losses_agree(case, {"projection": loss.item()}, dtype)
    stated = case.data["tolerance"]["grad_l2"]["projection"]
    gradients_agree(
        norms(family.networks[network]),
        case.data["grad_l2"]["projection"][network],
        stated if dtype == torch.float32 else None,
    )


@each("drit/attribute_encoder")
@every_dtype
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
    outputs_agree(case, outputs, dtype)
    check_projection(case, family, "enc_a", weighted, dtype)


@each("drit/content_encoder")
@every_dtype
def test_content_encoder(case: Case, dtype: torch.dtype) -> None:
    family, outputs, weighted = build(case, dtype), {}, {}
    for domain, small in BOTH:
        content = family.networks["enc_c"](case.input(f"image_{small}", dtype), domain)
        noisy = content + case.input(f"noise_content_{small}", dtype)
        outputs |= {f"content_{small}_eval": content, f"content_{small}_train": noisy}
        weighted[f"weight_{small}"] = noisy
    outputs_agree(case, outputs, dtype)
    check_projection(case, family, "enc_c", weighted, dtype)


@each("drit/generator")
@every_dtype
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
    sizes = {"content": content.grad.norm().item(), "attribute": attribute.grad.norm().item()}
    values_agree(case, {f"gradient_l2_{name}": size for name, size in sizes.items()}, dtype)
    outputs = {f"image_{small}": image for small, image in images.items()}
    outputs["gradient_attribute"] = attribute.grad
    outputs_agree(case, outputs, dtype)


@each("drit/discriminator")
@every_dtype
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

    family = build(case, dtype)
    dis, steps = family.networks[name], Steps(family)
    loss = family.discriminator_loss(name, real, [fake])
    Updater()(family.optimizers[name], loss)
    for key, value in dis.named_buffers():
        if key.endswith("weight_u"):
            outputs[f"u_after_update_{key}"] = value.clone()
    stage_agrees(case, "discriminator_update", {name: steps[name][0]}, dtype)
    images = fake.clone().requires_grad_()
    with frozen(dis):
        after = fooled(dis(images))
    after.backward()
    losses = {"discriminator": loss.item(), "generator_after_update": after.item()}
    losses_agree(case, losses, dtype)
    assert images.grad is not None
    size = images.grad.norm().item()
    values_agree(case, {"gradient_l2_fake_from_generator_loss": size}, dtype, sharp=1e-7)
    outputs_agree(case, outputs, dtype)


@each("drit/content_discriminator")
@every_dtype
def test_content_discriminator(case: Case, dtype: torch.dtype) -> None:
    hyper, name = case.hyper, "disContent"
    content = {s: hyper["input_scale"] * case.input(f"content_{s}", dtype) for s in ("a", "b")}
    family = build(case, dtype)
    dis = family.networks[name]
    logits = {f"logits_{s}": dis(each)[0].detach() for s, each in content.items()}
    outputs_agree(case, logits, dtype)

    # The case states this network's own rate, so that there is no other one to be a share of.
    model = family.config.model.model_copy(update={"clip_content": hyper["clip_max_norm"]})
    family.config = family.config.model_copy(update={"model": model})
    for group in family.optimizers[name].param_groups:
        group["lr"] = hyper["lr"]
    steps = Steps(family)
    loss = family.update_content(content["a"], content["b"], Updater())
    (step,) = steps[name]
    stage_agrees(case, "content_update", {name: step}, dtype)
    images = content["a"].clone().requires_grad_()
    with frozen(dis):
        after = undecided(dis(images))
    after.backward()
    losses = {"content_discriminator": loss, "generator_content_a_after_update": after}
    losses_agree(case, {label: x.item() for label, x in losses.items()}, dtype)
    assert images.grad is not None
    total = torch.tensor([*step.unclipped.values()], dtype=torch.float64).norm().item()
    sizes = {
        "content_update_total_grad_norm_before_clipping": total,
        "gradient_l2_content_a_from_generator_loss": images.grad.norm().item(),
    }
    values_agree(case, sizes, dtype, sharp=1e-7)


@each("drit/test_outputs")
@every_dtype
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
    outputs_agree(case, outputs, dtype)
