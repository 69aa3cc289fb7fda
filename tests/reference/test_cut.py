"""CUT's own parts: sampled patches, the contrastive loss, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.config import load_config
from cyclegan.cut.family import CUT
from cyclegan.cut.losses import patch_nce
from cyclegan.cut.networks import PatchSampleF
from tests.conftest import ROOT
from tests.reference.cases import Case, agree, each, loaded
from tests.reference.cut_draws import positions
from tests.reference.training import every_dtype, gradients_agree, norm, numbers_agree

CONFIGS = {"CUT": "horse2zebra.yaml", "FastCUT": "horse2zebra_fast.yaml"}
EXACT = {key: {"rtol": 1e-9} for key in ("losses", "grad_l2")} | {
    "arrays": {"rtol": 1e-6, "atol": 1e-6}
}


def tolerance(case: Case, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    return EXACT if dtype == torch.float64 else case.data["tolerance"]


def numbered(case: Case, prefix: str) -> list[str]:
    """`<prefix>_0`, `<prefix>_1`, ... as far as the case has them as inputs."""
    names = [f"{prefix}_{i}" for i in range(len(case.data["inputs"]))]
    return [name for name in names if case.has(name)]


@each("patch_sample")
@every_dtype
def test_sampled_patches(case: Case, dtype: torch.dtype) -> None:
    sampler = loaded(case, "F", dtype)
    assert isinstance(sampler, PatchSampleF)
    limits, patches = tolerance(case, dtype), case.describe("F")["num_patches"]
    features = [case.input(name, dtype).requires_grad_() for name in numbered(case, "feat")]
    chosen = [positions(case, str(layer), patches) for layer in range(len(features))]
    samples = sampler(features, chosen)
    along = [case.input(name, dtype) for name in numbered(case, "direction")]
    loss = torch.stack([(x * d).sum() for x, d in zip(samples, along, strict=True)]).sum()
    loss.backward()
    ours: dict[str, Tensor] = {"positions": torch.cat(chosen)}
    for layer, (sample, feature) in enumerate(zip(samples, features, strict=True)):
        assert feature.grad is not None
        ours |= {f"sample_{layer}": sample, f"grad_feat_{layer}": feature.grad}
    given = case.data.get("input_arrays", {})
    agree(ours, {k: v for k, v in case.arrays.items() if k not in given}, **limits["arrays"])
    numbers_agree({"direction": loss.item()}, case.data["losses"], rel=limits["losses"]["rtol"])
    if golden := case.data["grad_l2"]:
        gradients = {key: norm(key, p.grad) for key, p in sampler.named_parameters()}
        rel = limits["grad_l2"]["rtol"]
        gradients_agree(case, {"F": gradients}, golden, rel=rel, nothing=1e-9)


def unit(x: Tensor) -> Tensor:
    return x / (x.norm(dim=1, keepdim=True) + 1e-7)


@each("patch_nce")
@every_dtype
def test_contrastive_loss(case: Case, dtype: torch.dtype) -> None:
    hyper, limits, ours, losses = case.hyper, tolerance(case, dtype), {}, {}
    raw_q, raw_k = case.input("q_raw"), case.input("k_raw")
    key = unit(raw_k).to(dtype)
    for name, groups in (("own_image", hyper["batch_size"]), ("whole_minibatch", 1)):
        query = unit(raw_k + 0.7 * raw_q).to(dtype).requires_grad_()
        values = patch_nce(query, key.clone().requires_grad_(), groups, hyper["nce_T"])
        (gradient,) = torch.autograd.grad(values.mean(), query)
        ours |= {f"values_{name}": values, f"grad_q_{name}": gradient}
        losses[name] = values.mean().item()
    agree(ours, case.arrays, **limits["arrays"])
    numbers_agree(losses, case.data["losses"], rel=limits["losses"]["rtol"])


def published(options: dict[str, Any]) -> dict[str, Any]:
    """What our options are called there."""
    data, train, optim, model = (options[part] for part in ("data", "train", "optim", "model"))
    same = (
        "input_nc", "output_nc", "ngf", "ndf", "gan_mode", "init_gain", "lambda_GAN", "lambda_NCE",
        "nce_idt", "nce_T", "nce_includes_all_negatives_from_minibatch", "netF", "netF_nc",
        "num_patches", "flip_equivariance",
    )  # fmt: skip
    return {name: model[name] for name in same} | {
        "netG": model["generator"],
        "netD": model["discriminator"],
        "n_layers_D": model["num_layers_dis"],
        "normG": model["norm"],
        "normD": model["norm"],
        "no_dropout": not model["dropout"],
        "no_antialias": not model["antialias"],
        "no_antialias_up": not model["antialias_up"],
        "init_type": model["init"],
        "nce_layers": ",".join(map(str, model["nce_layers"])),
        "n_epochs": train["num_epochs"],
        "n_epochs_decay": train["num_epochs_decay"],
        "batch_size": train["batch_size"],
        "lr": optim["lr"],
        "beta1": optim["beta1"],
        "beta2": optim["beta2"],
        "lr_policy": optim["policy"].removesuffix("_legacy"),
        "lr_decay_iters": optim["decay_every"],
        "load_size": data["load_size"],
        "crop_size": data["crop_size"],
        "preprocess": data["preprocess"],
        "direction": data["direction"],
        "no_flip": not data["flip"],
        "serial_batches": data["serial"],
        "num_threads": data["num_workers"],
        "model": options["family"],
    }


def options_of(mode: str) -> dict[str, Any]:
    config = load_config(Path(ROOT, "configs", "cut", CONFIGS[mode]), {"cut": CUT})
    return config.model_dump(mode="json")


@each("cut_options")
def test_defaults_of_both_modes(case: Case) -> None:
    for mode, golden in case.data["options"].items():
        ours = published(options_of(mode))
        assert ours == {name: golden[name] for name in ours}, mode
    assert case.data["differences"].keys() - published(options_of("CUT")).keys() == {"CUT_mode"}


@each("data")
def test_load_size_of_both_phases(case: Case) -> None:
    """Images are loaded at the crop's size while the rate falls; docs/cut.md says how here."""
    for mode, sizes in case.data.get("load_size_per_epoch", {}).items():
        if mode not in CONFIGS:
            continue
        options = options_of(mode)
        hold = options["train"]["num_epochs"]
        last = hold + options["train"]["num_epochs_decay"]
        assert max(map(int, sizes)) == last
        for epoch, size in sizes.items():
            key = "load_size" if int(epoch) <= hold else "crop_size"
            assert options["data"][key] == size, (mode, epoch)


def test_loss_gives_keys_no_gradient() -> None:
    query, key = (unit(torch.randn(8, 4)).requires_grad_() for _ in range(2))
    patch_nce(query, key, 2, 0.07).sum().backward()
    assert query.grad is not None and key.grad is None


@pytest.mark.parametrize("groups", [1, 2])
def test_loss_of_half_precision_is_that_of_float32(groups: int) -> None:
    query, key = (unit(torch.randn(8, 4)).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        ours = patch_nce(query, key, groups, 0.07)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, patch_nce(query.float(), key.float(), groups, 0.07))
