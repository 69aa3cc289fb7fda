"""MUNIT's and UNIT's single networks, the perceptual loss, and translating."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.nn.vgg import vgg_input
from munit.losses import (
    PerceptualLoss,
    domain_invariant_distance,
    multi_scale_dis_loss,
    multi_scale_gen_loss,
)
from munit.official import from_official, infer_discriminator, infer_generator
from tests.reference.cases import Case, agree, close, each
from tests.reference.munit_cases import (
    assert_gradients,
    family,
    fill,
    named_gradients,
    network,
    style,
)
from tests.reference.training import every_dtype, numbers_agree, zero_keys


def array_bounds(case: Case, dtype: torch.dtype) -> dict[str, float]:
    stated = case.data["tolerance"]["arrays"]
    return {} if dtype == torch.float64 else {key: stated[key] for key in ("rtol", "atol")}


@each("adain_gen")
@every_dtype
def test_generator_with_styles(case: Case, dtype: torch.dtype) -> None:
    gen, x = network(case, "gen", dtype), case.input("x", dtype)
    content, own = gen.encode(x)
    outputs = {
        "content": content,
        "style": own[..., None, None],
        "adain_params": gen.mlp(own).flatten(1),
        "recon": gen(x),
    }
    for name in case.data["inputs"].keys() - {"x"}:
        outputs[f"decode_{name}"] = gen.decode(content, style(case, name, dtype))
        outputs[f"adain_params_{name}"] = gen.mlp(style(case, name, dtype)).flatten(1)
    agree(outputs, case.arrays, **array_bounds(case, dtype))
    loss = F.l1_loss(outputs["recon"], x)
    rel = 1e-10 if dtype == torch.float64 else case.data["tolerance"]["losses"]["rtol"]
    numbers_agree({"recon_l1": loss.item()}, case.data["losses"], rel=rel)
    if dtype == torch.float64:
        loss.backward()
        assert_gradients(case, "gen", zero_keys(case, "gen"), named_gradients(gen))


@each("unit_vaegen")
def test_generator_without_styles(case: Case) -> None:
    gen, x = network(case, "gen"), case.input("x")
    hidden = gen.enc(x)
    noisy, mean = gen.dec(hidden + case.input("n")), gen.dec(hidden)
    agree({"hidden": hidden, "recon_noisy": noisy, "recon_mean": mean}, case.arrays)
    close(gen(x), mean)
    loss = F.l1_loss(noisy, x)
    losses = {"kl": hidden.square().mean().item(), "recon_l1_noisy": loss.item()}
    numbers_agree(losses, case.data["losses"], rel=1e-10)
    loss.backward()
    assert_gradients(case, "gen", zero_keys(case, "gen"), named_gradients(gen))


@each("ms_image_dis")
def test_discriminator(case: Case) -> None:
    dis = network(case, "dis")
    real, fake = case.input("real"), case.input("fake").requires_grad_()
    outputs: dict[str, Tensor] = {}
    for name, image in (("real", real), ("fake", fake)):
        outputs |= {f"{name}_scale{scale}": scores for scale, scores in enumerate(dis(image))}
        for number in range(1, case.hyper["dis"]["num_scales"]):
            image = F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
            outputs[f"{name}_down{number}"] = image
    for name, golden in case.data["losses"].items():
        player, gan_type = name.split("_")
        scores = dis(fake)
        if player == "dis":
            loss = multi_scale_dis_loss(scores, dis(real), gan_type)
        else:
            loss = multi_scale_gen_loss(scores, gan_type)
        assert loss.item() == pytest.approx(golden, rel=1e-10), name
        dis.zero_grad()
        fake.grad = None
        loss.backward()
        assert_gradients(case, name, zero_keys(case, "dis"), named_gradients(dis))
        outputs[f"grad_fake_{name}"] = fake.grad
    agree(outputs, case.arrays)


def written_vgg(case: Case, folder: Path) -> str:
    """The case's VGG as the published file."""
    path = folder / "vgg16.weight"
    torch.save(case.weights("vgg"), path)
    return str(path)


@each("vgg_loss")
def test_perceptual_loss(case: Case, tmp_path: Path) -> None:
    image, target = case.input("img").requires_grad_(), case.input("target")
    loss = PerceptualLoss(written_vgg(case, tmp_path), "caffe")
    features = {"img": loss.features(image), "target": loss.features(target)}
    outputs = {"img_preprocessed": vgg_input(image, "caffe")}
    for name, feature in features.items():
        outputs[f"feat_{name}"], outputs[f"feat_{name}_norm"] = feature, F.instance_norm(feature)
    # The published code holds the mean of its preprocessing in float32.
    distance = loss(image, target)
    plain = F.mse_loss(features["img"], features["target"]).item()
    losses = {"vgg_loss": distance.item(), "mse_without_instance_norm": plain}
    numbers_agree(losses, case.data["losses"], rel=1e-9)
    assert domain_invariant_distance(*features.values()).item() == distance.item()
    distance.backward()
    assert image.grad is not None
    agree(outputs, {name: x for name, x in case.arrays.items() if name != "grad_img"})
    agree({"grad_img": image.grad}, {"grad_img": case.arrays["grad_img"]}, atol=1e-9)


def stretched(images: Tensor) -> Tensor:
    """The published saving: smallest value to 0, largest to 1 (ours does not do that)."""
    return (images - images.min()) / (images.max() - images.min())


@each("inference")
def test_translations(case: Case) -> None:
    model, outputs = family(case), {}
    fill(case, {name: model.networks[name] for name in case.data["spec"]}, torch.float64)
    for net in model.networks.values():
        net.double().eval()
    x = {"a": case.input("x_a"), "b": case.input("x_b")}
    code = {name: style(case, name) for name in case.data["inputs"] if name.startswith("s")}
    for s, t, direction in (("a", "b", "AtoB"), ("b", "a", "BtoA")):
        first, way = x[s][:1], f"{s}2{t}"
        forward = model.translate(x[s], direction, code[f"s_{t}1"])
        outputs[f"forward_x_{s}{t}"] = forward
        for number, one in enumerate(code["style_rand"].split(1)):
            raw = model.translate(first, direction, one)
            outputs[f"{way}_raw{number:03}"] = raw
            outputs[f"{way}_output{number:03}"] = stretched(raw[0])
        guide = model.encode_style(x[t][:1], direction)
        guided = model.decode(model.encode_content(first, direction), guide, direction)
        outputs[f"{way}_guided_raw"] = guided
        outputs[f"{way}_guided_output000"] = stretched(guided[0])
        outputs[f"{way}_input"] = stretched(x[s][0])
        fresh = model.translate(x[s], direction, code[f"s_{t}2"])
        rows = [x[s], model.networks[f"gen_{s}"](x[s]), forward, fresh]
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        outputs[f"grid_{way}"] = stretched(grid)
    golden = case.arrays
    for name in [name for name in golden if "_bytes_" in name]:
        picture, _, kind = name.partition("_bytes_")
        add = {"rounded": 0.5, "truncated": 0.0}[kind]
        written = (outputs[picture] * 255 + add).clamp(0, 255).floor()
        assert (written - golden.pop(name).double()).abs().max() <= 1, name
    agree(outputs, golden)


@each("adain_gen", "unit_vaegen", "ms_image_dis")
def test_options_are_read_off_the_keys(case: Case) -> None:
    hyper = case.hyper
    for name in case.data["spec"]:
        dis = name.startswith("dis")
        infer = infer_discriminator if dis else infer_generator
        found = infer(case.weights(name), case.folder)
        expected = hyper["dis" if dis else "gen"]
        assert found == {key: expected[key] for key in found}


@each("adain_gen")
def test_released_file_of_old_pytorch(case: Case) -> None:
    """Extra statistics of instance norms are dropped, and ours is the published layout again."""
    state = case.weights("gen")
    extra = case.data["checkpoint_layout"].get("old_extra_keys", {"keys": {}})["keys"]
    old = state | {key: torch.full(shape, 7.0) for key, shape in extra.items()}
    old |= {"enc_content.model.0.norm.num_batches_tracked": torch.tensor(3)}
    plain, read = (from_official({"gen_a": each_, "gen_b": each_}) for each_ in (state, old))
    for key, value in plain.networks["gen_a"].state_dict().items():
        assert torch.equal(value, read.networks["gen_a"].state_dict()[key])
