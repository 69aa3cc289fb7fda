"""Training iterations the separate way: every network sees one batch at a time, as published.

The families compute what is the same function in fewer passes, or only once. These are the oracles
that they are held to: plain straight-line code in the order of the official programs, with backward
and step written out, and no pass shared. They draw from torch's global generator in the published
order, change the family's networks, and return its loss terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from core.losses import dis_loss, gen_loss
from core.nn.upsampling import DoubledConv2d
from drit.losses import attribute_prior, fooled, judged, mode_seeking, undecided
from munit.losses import kl_loss, multi_scale_dis_loss, multi_scale_gen_loss

Terms = dict[str, Tensor]


def step(optimizer: Optimizer, losses: Iterable[Tensor]) -> None:
    """Take one optimizer step on the sum of the losses."""
    optimizer.zero_grad()
    torch.stack([*losses]).sum().backward()
    optimizer.step()


def detached(*parts: Terms) -> Terms:
    return {name: loss.detach() for part in parts for name, loss in part.items()}


def cyclegan(family: Any, real_A: Tensor, real_B: Tensor) -> Terms:
    """Official `models/cycle_gan_model.py`: forward, generators, then D_A and D_B."""
    model, mode = family.config.model, family.config.model.gan_mode
    G_A, G_B, D_A, D_B = (family.networks[name] for name in ("G_A", "G_B", "D_A", "D_B"))
    fake_B = G_A(real_A)
    rec_A = G_B(fake_B)
    fake_A = G_B(real_B)
    rec_B = G_A(fake_A)
    gen = {}
    if model.lambda_identity:
        idt_A, idt_B = G_A(real_B), G_B(real_A)
        gen["idt_A"] = F.l1_loss(idt_A, real_B) * model.lambda_B * model.lambda_identity
        gen["idt_B"] = F.l1_loss(idt_B, real_A) * model.lambda_A * model.lambda_identity
    gen["G_A"] = gen_loss(D_A(fake_B), mode)
    gen["G_B"] = gen_loss(D_B(fake_A), mode)
    gen["cycle_A"] = F.l1_loss(rec_A, real_A) * model.lambda_A
    gen["cycle_B"] = F.l1_loss(rec_B, real_B) * model.lambda_B
    step(family.optimizers["G"], gen.values())
    dis = {}
    for name, D, real, pool, fake in (
        ("D_A", D_A, real_B, "pool_B", fake_B),
        ("D_B", D_B, real_A, "pool_A", fake_A),
    ):
        kept = family.state[pool].query(fake.detach())
        on_real = dis_loss(D(real), mode, real=True)
        dis[name] = (on_real + dis_loss(D(kept), mode, real=False)) * 0.5
    step(family.optimizers["D"], dis.values())
    return detached(gen, dis, {"G": torch.stack([*gen.values()]).sum()})


def pix2pix(family: Any, real_A: Tensor, real_B: Tensor) -> Terms:
    """Official `models/pix2pix_model.py`: D on the fake and the real pair, then G."""
    model, mode = family.config.model, family.config.model.gan_mode
    G, D = family.networks["G"], family.networks["D"]
    fake_B = G(real_A)
    fake_pair = family.state["pool"].query(torch.cat([real_A, fake_B], 1).detach())
    D_fake = dis_loss(D(fake_pair), mode, real=False)
    D_real = dis_loss(D(torch.cat([real_A, real_B], 1)), mode, real=True)
    loss_D = (D_fake + D_real) * 0.5
    step(family.optimizers["D"], [loss_D])
    gen = {
        "G_GAN": gen_loss(D(torch.cat([real_A, fake_B], 1)), mode),
        "G_L1": F.l1_loss(fake_B, real_B) * model.lambda_L1,
    }
    step(family.optimizers["G"], gen.values())
    total = {"G": gen["G_GAN"] + gen["G_L1"]}
    return detached(gen, {"D_real": D_real, "D_fake": D_fake, "D": loss_D}, total)


@contextmanager
def doubled_images() -> Iterator[None]:
    """Within, MUNIT's decoders double the image, then convolve it."""

    def forward(conv: DoubledConv2d, x: Tensor) -> Tensor:
        return nn.Conv2d.forward(conv, F.interpolate(x, scale_factor=2.0))

    with patch.object(DoubledConv2d, "forward", forward):
        yield


@doubled_images()
def munit(family: Any, x_a: Tensor, x_b: Tensor) -> Terms:
    """Official `trainer.py:MUNIT_Trainer`: `dis_update`, then `gen_update`."""
    model, gan = family.config.model, family.config.model.dis.gan_type
    gen_a, gen_b, dis_a, dis_b = (family.networks[n] for n in ("gen_a", "gen_b", "dis_a", "dis_b"))

    def random_styles() -> tuple[Tensor, Tensor]:
        return tuple(torch.randn(len(x), family.style_dim, dtype=x.dtype) for x in (x_b, x_a))  # type: ignore[return-value]

    s_a, s_b = random_styles()
    (c_a, _), (c_b, _) = gen_a.encode(x_a), gen_b.encode(x_b)
    x_ba, x_ab = gen_a.decode(c_b, s_a).detach(), gen_b.decode(c_a, s_b).detach()
    dis = {
        "dis_a": model.gan_w * multi_scale_dis_loss(dis_a(x_ba), dis_a(x_a), gan),
        "dis_b": model.gan_w * multi_scale_dis_loss(dis_b(x_ab), dis_b(x_b), gan),
    }
    step(family.optimizers["dis"], dis.values())

    s_a, s_b = random_styles()
    (c_a, s_a_prime), (c_b, s_b_prime) = gen_a.encode(x_a), gen_b.encode(x_b)
    x_a_recon, x_b_recon = gen_a.decode(c_a, s_a_prime), gen_b.decode(c_b, s_b_prime)
    x_ba, x_ab = gen_a.decode(c_b, s_a), gen_b.decode(c_a, s_b)
    c_b_recon, s_a_recon = gen_a.encode(x_ba)
    c_a_recon, s_b_recon = gen_b.encode(x_ab)
    gen = {
        "recon_x_a": model.recon_x_w * F.l1_loss(x_a_recon, x_a),
        "recon_x_b": model.recon_x_w * F.l1_loss(x_b_recon, x_b),
        "recon_s_a": model.recon_s_w * F.l1_loss(s_a_recon, s_a),
        "recon_s_b": model.recon_s_w * F.l1_loss(s_b_recon, s_b),
        "recon_c_a": model.recon_c_w * F.l1_loss(c_a_recon, c_a),
        "recon_c_b": model.recon_c_w * F.l1_loss(c_b_recon, c_b),
    }
    if model.recon_x_cyc_w:
        x_aba, x_bab = gen_a.decode(c_a_recon, s_a_prime), gen_b.decode(c_b_recon, s_b_prime)
        gen["recon_x_cyc_a"] = model.recon_x_cyc_w * F.l1_loss(x_aba, x_a)
        gen["recon_x_cyc_b"] = model.recon_x_cyc_w * F.l1_loss(x_bab, x_b)
    gen["gan_a"] = model.gan_w * multi_scale_gen_loss(dis_a(x_ba), gan)
    gen["gan_b"] = model.gan_w * multi_scale_gen_loss(dis_b(x_ab), gan)
    step(family.optimizers["gen"], gen.values())
    return detached(dis, gen, {"gen": torch.stack([*gen.values()]).sum()})


@doubled_images()
def unit(family: Any, x_a: Tensor, x_b: Tensor) -> Terms:
    """Official `trainer.py:UNIT_Trainer`: `dis_update`, then `gen_update`."""
    model, gan = family.config.model, family.config.model.dis.gan_type
    gen_a, gen_b, dis_a, dis_b = (family.networks[n] for n in ("gen_a", "gen_b", "dis_a", "dis_b"))
    h_a, h_b = gen_a.enc(x_a), gen_b.enc(x_b)
    n_a, n_b = torch.randn_like(h_a), torch.randn_like(h_b)
    x_ba, x_ab = gen_a.dec(h_b + n_b).detach(), gen_b.dec(h_a + n_a).detach()
    dis = {
        "dis_a": model.gan_w * multi_scale_dis_loss(dis_a(x_ba), dis_a(x_a), gan),
        "dis_b": model.gan_w * multi_scale_dis_loss(dis_b(x_ab), dis_b(x_b), gan),
    }
    step(family.optimizers["dis"], dis.values())

    h_a, h_b = gen_a.enc(x_a), gen_b.enc(x_b)
    n_a, n_b = torch.randn_like(h_a), torch.randn_like(h_b)
    x_a_recon, x_b_recon = gen_a.dec(h_a + n_a), gen_b.dec(h_b + n_b)
    x_ba, x_ab = gen_a.dec(h_b + n_b), gen_b.dec(h_a + n_a)
    h_b_recon, h_a_recon = gen_a.enc(x_ba), gen_b.enc(x_ab)
    n_b_recon, n_a_recon = torch.randn_like(h_b_recon), torch.randn_like(h_a_recon)
    x_aba, x_bab = gen_a.dec(h_a_recon + n_a_recon), gen_b.dec(h_b_recon + n_b_recon)
    gen = {
        "recon_x_a": model.recon_x_w * F.l1_loss(x_a_recon, x_a),
        "recon_x_b": model.recon_x_w * F.l1_loss(x_b_recon, x_b),
        "recon_kl_a": model.recon_kl_w * kl_loss(h_a),
        "recon_kl_b": model.recon_kl_w * kl_loss(h_b),
        "recon_x_cyc_a": model.recon_x_cyc_w * F.l1_loss(x_aba, x_a),
        "recon_x_cyc_b": model.recon_x_cyc_w * F.l1_loss(x_bab, x_b),
        "recon_kl_cyc_a": model.recon_kl_cyc_w * kl_loss(h_a_recon),
        "recon_kl_cyc_b": model.recon_kl_cyc_w * kl_loss(h_b_recon),
        "gan_a": model.gan_w * multi_scale_gen_loss(dis_a(x_ba), gan),
        "gan_b": model.gan_w * multi_scale_gen_loss(dis_b(x_ab), gan),
    }
    step(family.optimizers["gen"], gen.values())
    return detached(dis, gen, {"gen": torch.stack([*gen.values()]).sum()})


def drit(family: Any, images_A: Tensor, images_B: Tensor) -> Terms:
    """Official `src/model.py`: `forward`, `update_D`, then `update_EG` at the forward's weights."""
    model, net = family.config.model, family.networks
    (real_A, random_A), (real_B, random_B) = family.split(images_A), family.split(images_B)
    gen, enc_a, number = net["gen"], net["enc_a"], 2 if model.lambda_ms else 1

    def contents(x_A: Tensor, x_B: Tensor) -> list[Tensor]:
        codes = [net["enc_c"](x, domain) for x, domain in ((x_A, "A"), (x_B, "B"))]
        return [code + torch.randn_like(code) for code in codes]

    def attributes(x_A: Tensor, x_B: Tensor) -> list[tuple[Tensor, ...]]:
        found = []
        for mean, logvar in (enc_a(x_A, "A"), enc_a(x_B, "B")):
            std = None if logvar is None else (logvar / 2).exp()
            z = mean if std is None else mean + torch.randn_like(mean) * std
            found.append((z, mean, logvar))
        return found

    def translated(own: Tensor, other: Tensor, z: Tensor, domain: str) -> list[Tensor]:
        codes = torch.cat([other, own, *[other] * number]), torch.cat([z, z, *random])
        return list(gen(*codes, domain).split(len(own)))

    content_A, content_B = contents(real_A, real_B)
    (z_A, mean_A, logvar_A), (z_B, mean_B, logvar_B) = attributes(real_A, real_B)
    random = [torch.randn_like(z_A) for _ in range(number)]
    fake_A, fake_AA, *drawn_A = translated(content_A, content_B, z_A, "A")
    fake_B, fake_BB, *drawn_B = translated(content_B, content_A, z_B, "B")
    content_fake_A, content_fake_B = contents(fake_A, fake_B)
    (z_fake_A, *_), (z_fake_B, *_) = attributes(fake_A, fake_B)
    recon_A, recon_B = gen(content_fake_B, z_fake_A, "A"), gen(content_fake_A, z_fake_B, "B")
    regressed_A, regressed_B = enc_a(drawn_A[0], "A")[0], enc_a(drawn_B[0], "B")[0]

    terms = {}
    for name, real, fakes in (
        ("disA", real_A, [fake_A]),
        ("disA2", random_A, drawn_A),
        ("disB", real_B, [fake_B]),
        ("disB2", random_B, drawn_B),
    ):
        D, parts = net[name], []
        for fake in fakes:
            parts += [judged(D(fake.detach()), real=False), judged(D(real), real=True)]
        terms[f"{name}_loss"] = torch.stack(parts).sum()
        step(family.optimizers[name], parts)
    D = net["disContent"]
    on_A, on_B = D(content_A.detach()), D(content_B.detach())
    terms["disContent_loss"] = judged(on_A, real=False) + judged(on_B, real=True)
    family.optimizers["disContent"].zero_grad()
    terms["disContent_loss"].backward()
    torch.nn.utils.clip_grad_norm_(D.parameters(), model.clip_content)
    family.optimizers["disContent"].step()

    first = {
        "gan_loss_a": model.lambda_gan * fooled(net["disA"](fake_A)),
        "gan_loss_b": model.lambda_gan * fooled(net["disB"](fake_B)),
        "gan_loss_acontent": model.lambda_content * undecided(D(content_A)),
        "gan_loss_bcontent": model.lambda_content * undecided(D(content_B)),
        "kl_loss_za_a": model.lambda_kl * attribute_prior(mean_A, logvar_A),
        "kl_loss_za_b": model.lambda_kl * attribute_prior(mean_B, logvar_B),
        "kl_loss_zc_a": model.lambda_l2 * content_A.square().mean(),
        "kl_loss_zc_b": model.lambda_l2 * content_B.square().mean(),
        "l1_recon_A_loss": model.lambda_cycle * F.l1_loss(recon_A, real_A),
        "l1_recon_B_loss": model.lambda_cycle * F.l1_loss(recon_B, real_B),
        "l1_recon_AA_loss": model.lambda_self * F.l1_loss(fake_AA, real_A),
        "l1_recon_BB_loss": model.lambda_self * F.l1_loss(fake_BB, real_B),
    }
    second = {
        "gan2_loss_a": sum(model.lambda_gan * fooled(net["disA2"](x)) for x in drawn_A),
        "gan2_loss_b": sum(model.lambda_gan * fooled(net["disB2"](x)) for x in drawn_B),
        "l1_recon_z_loss_a": model.lambda_latent * F.l1_loss(regressed_A, random[0]),
        "l1_recon_z_loss_b": model.lambda_latent * F.l1_loss(regressed_B, random[0]),
    }
    if model.lambda_ms:
        second["lz_AB"] = model.lambda_ms * mode_seeking(drawn_B, random)
        second["lz_BA"] = model.lambda_ms * mode_seeking(drawn_A, random)
    updates = []
    for losses, names in ((first, ("enc_c", "enc_a", "gen")), (second, ("enc_c", "gen"))):
        parameters = [p for name in names for p in net[name].parameters()]
        total = torch.stack([*losses.values()]).sum()
        gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        updates.append((names, parameters, gradients))
    for names, parameters, gradients in updates:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for name in names:
            family.optimizers[name].step()
    return detached(terms, first, second, {"G_loss": torch.stack([*first.values()]).sum()})
