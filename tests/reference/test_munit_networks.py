"""MUNIT's and UNIT's single networks, the perceptual loss, and translating."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.nn.vgg import vgg_input
from munit.losses import domain_invariant_distance, multi_scale_dis_loss, multi_scale_gen_loss
from munit.official import from_official, infer_discriminator, infer_generator
from munit.perceptual import PerceptualLoss
from tests.reference.cases import Case, close, each
from tests.reference.munit_cases import (
    assert_gradients,
    family,
    fill,
    named_gradients,
    network,
    style,
)


def zero_keys(case: Case, name: str) -> set[str]:
    return set(case.data.get("zero_gradient_keys", {}).get(name, ()))


@each("adain_gen")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_generator_with_styles(case: Case, dtype: torch.dtype) -> None:
    gen, golden, x = network(case, "gen", dtype), case.arrays, case.input("x", dtype)
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
    sharp = {} if dtype == torch.float64 else case.data["tolerance"]["arrays"]
    for name, array in golden.items():
        close(outputs[name], array, **{k: v for k, v in sharp.items() if k in ("rtol", "atol")})
    loss = F.l1_loss(outputs["recon"], x)
    rtol = 1e-10 if dtype == torch.float64 else case.data["tolerance"]["losses"]["rtol"]
    assert loss.item() == pytest.approx(case.data["losses"]["recon_l1"], rel=rtol)
    if dtype == torch.float64:
        loss.backward()
        assert_gradients(case, "gen", zero_keys(case, "gen"), named_gradients(gen))


@each("unit_vaegen")
def test_generator_without_styles(case: Case) -> None:
    gen, golden, x = network(case, "gen"), case.arrays, case.input("x")
    hidden = gen.enc(x)
    noisy = gen.dec(hidden + case.input("n"))
    close(hidden, golden.pop("hidden"))
    close(noisy, golden.pop("recon_noisy"))
    close(gen.dec(hidden), golden.pop("recon_mean"))
    close(gen(x), gen.dec(hidden))
    assert not golden
    losses = case.data["losses"]
    assert hidden.square().mean().item() == pytest.approx(losses["kl"], rel=1e-10)
    loss = F.l1_loss(noisy, x)
    assert loss.item() == pytest.approx(losses["recon_l1_noisy"], rel=1e-10)
    loss.backward()
    assert_gradients(case, "gen", zero_keys(case, "gen"), named_gradients(gen))


@each("ms_image_dis")
def test_discriminator(case: Case) -> None:
    dis, golden = network(case, "dis"), case.arrays
    real, fake = case.input("real"), case.input("fake").requires_grad_()
    for name, image in (("real", real), ("fake", fake)):
        for scale, scores in enumerate(dis(image)):
            close(scores, golden.pop(f"{name}_scale{scale}"))
    down = fake
    for number in (1, 2):
        down = F.avg_pool2d(down, 3, 2, 1, count_include_pad=False)
        close(down, golden.pop(f"fake_down{number}", down))
    for gan_type in ("lsgan", "nsgan"):
        on_fake, on_real = dis(fake), dis(real)
        losses = {
            f"dis_{gan_type}": multi_scale_dis_loss(on_fake, on_real, gan_type),
            f"gen_{gan_type}": multi_scale_gen_loss(on_fake, gan_type),
        }
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(case.data["losses"][name], rel=1e-10)
            dis.zero_grad()
            fake.grad = None
            loss.backward(retain_graph=True)
            assert_gradients(case, name, zero_keys(case, "dis"), named_gradients(dis))
            if f"grad_fake_{name}" in golden:
                assert fake.grad is not None
                close(fake.grad, golden.pop(f"grad_fake_{name}"))
    assert not golden


def written_vgg(case: Case, folder: Path) -> str:
    """The case's VGG as the published file."""
    path = folder / "vgg16.weight"
    torch.save(case.weights("vgg"), path)
    return str(path)


@each("vgg_loss")
def test_perceptual_loss(case: Case, tmp_path: Path) -> None:
    golden, losses = case.arrays, case.data["losses"]
    image, target = case.input("img").requires_grad_(), case.input("target")
    loss = PerceptualLoss(written_vgg(case, tmp_path), "caffe")
    features = {"img": loss.features(image), "target": loss.features(target)}
    close(vgg_input(image, "caffe"), golden.pop("img_preprocessed"))
    for name, feature in features.items():
        close(feature, golden.pop(f"feat_{name}"))
        close(F.instance_norm(feature), golden.pop(f"feat_{name}_norm"))
    # The published code holds the mean of its preprocessing in float32.
    distance = loss(image, target)
    assert distance.item() == pytest.approx(losses["vgg_loss"], rel=1e-9)
    plain = F.mse_loss(features["img"], features["target"]).item()
    assert plain == pytest.approx(losses["mse_without_instance_norm"], rel=1e-9)
    assert domain_invariant_distance(*features.values()).item() == distance.item()
    distance.backward()
    assert image.grad is not None
    close(image.grad, golden.pop("grad_img"), atol=1e-9)
    assert not golden


def stretched(images: Tensor) -> Tensor:
    """The published saving: smallest value to 0, largest to 1 (ours does not do that)."""
    return (images - images.min()) / (images.max() - images.min())


@each("inference")
def test_translations(case: Case) -> None:
    model, golden = family(case), case.arrays
    fill(case, {name: model.networks[name] for name in case.data["spec"]}, torch.float64)
    for net in model.networks.values():
        net.double().eval()
    x = {"a": case.input("x_a"), "b": case.input("x_b")}
    code = {name: style(case, name) for name in case.data["inputs"] if name.startswith("s")}
    for s, t, direction in (("a", "b", "AtoB"), ("b", "a", "BtoA")):
        forward = model.translate(x[s], direction, code[f"s_{t}1"])
        close(forward, golden.pop(f"forward_x_{s}{t}"))
        for number, one in enumerate(code["style_rand"].split(1)):
            raw = model.translate(x[s][:1], direction, one)
            close(raw, golden.pop(f"{s}2{t}_raw{number:03}"))
            close(stretched(raw[0]), golden.pop(f"{s}2{t}_output{number:03}"))
            for kind, add in (("rounded", 0.5), ("truncated", 0.0)):
                stored = golden.pop(f"{s}2{t}_output{number:03}_bytes_{kind}", None)
                if stored is not None:
                    written = (stretched(raw[0]) * 255 + add).clamp(0, 255).floor()
                    assert (written - stored.double()).abs().max() <= 1
        guide = model.encode_style(x[t][:1], direction)
        guided = model.decode(model.encode_content(x[s][:1], direction), guide, direction)
        close(guided, golden.pop(f"{s}2{t}_guided_raw"))
        close(stretched(guided[0]), golden.pop(f"{s}2{t}_guided_output000"))
        if f"{s}2{t}_input" in golden:
            close(stretched(x[s][0]), golden.pop(f"{s}2{t}_input"))
        fresh = model.translate(x[s], direction, code[f"s_{t}2"])
        rows = [x[s], model.networks[f"gen_{s}"](x[s]), forward, fresh]
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        close(stretched(grid), golden.pop(f"grid_{s}2{t}"))
    assert not golden


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
    extra = case.data["checkpoint_layout"]["old_extra_keys"]["keys"]
    old = state | {key: torch.full(shape, 7.0) for key, shape in extra.items()}
    old |= {"enc_content.model.0.norm.num_batches_tracked": torch.tensor(3)}
    plain, read = (from_official({"gen_a": each_, "gen_b": each_}) for each_ in (state, old))
    for key, value in plain.networks["gen_a"].state_dict().items():
        assert torch.equal(value, read.networks["gen_a"].state_dict()[key])
