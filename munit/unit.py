"""UNIT: unsupervised translation through a shared latent space (Liu, Breuel, Kautz, NIPS 2017).

As trained by the official MUNIT repository (`trainer.py:UNIT_Trainer`): the latent code of x_a is
normal about h_a = gen_a.enc(x_a) with deviation 1, and gen_b.dec(h_a + noise) is a translation.
dis_a judges images of domain a. The weights of both generators are their own; what they share is
the distribution of the codes. Translating takes the mean.

Deviations from the official code: those of `munit.family`. A cycle weight of 0 skips the cycle,
where the official trainer fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.family import ImageBatch, Update
from core.losses import l1
from core.nn.factory import forward_each
from core.options import Direction
from core.training.update import frozen
from munit.config import UNITConfig
from munit.joint import judge_each
from munit.losses import kl_loss, multi_scale_dis_loss, multi_scale_gen_loss
from munit.networks import VAEGen
from munit.two_domains import TwoDomains


@dataclass(frozen=True)
class Noise:
    """The latent noise of one iteration in the order of drawing, each of its code's shape."""

    n_a_dis: Tensor
    n_b_dis: Tensor
    n_a: Tensor
    n_b: Tensor
    n_b_recon: Tensor
    n_a_recon: Tensor


class UNIT(TwoDomains[UNITConfig, VAEGen]):
    """Two variational auto-encoders and two discriminators; see the module's text."""

    name: ClassVar[str] = "unit"
    Config: ClassVar[type[UNITConfig]] = UNITConfig
    Generator: ClassVar[type[nn.Module]] = VAEGen

    # -- training ---------------------------------------------------------------------------

    def dis_losses(
        self, x_a: Tensor, x_b: Tensor, h_a: Tensor, h_b: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """The discriminators' objectives, weighted, on translations of their own."""
        model = self.config.model
        with torch.no_grad():
            x_ba = self._gen("a").dec(h_b + noise.n_b_dis)
            x_ab = self._gen("b").dec(h_a + noise.n_a_dis)
        losses = {}
        for name, fake, real in (("dis_a", x_ba, x_a), ("dis_b", x_ab, x_b)):
            on_fake, on_real = judge_each(self.networks[name], fake, real, joint=self.joint_dis)
            loss = multi_scale_dis_loss(on_fake, on_real, model.dis.gan_type)
            losses[name] = model.gan_w * loss
        return losses

    def gen_losses(
        self, x_a: Tensor, x_b: Tensor, h_a: Tensor, h_b: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """The terms of the generators' objective (eq. 4), weighted."""
        model, gan_type = self.config.model, self.config.model.dis.gan_type
        gen_a, gen_b = self._gen("a"), self._gen("b")
        dis_a, dis_b = self.networks["dis_a"], self.networks["dis_b"]
        z_a, z_b = h_a + noise.n_a, h_b + noise.n_b  # one noise for both decodings of a code
        x_a_recon, x_ba = forward_each(gen_a.dec, z_a, z_b, joint=self.joint)
        x_b_recon, x_ab = forward_each(gen_b.dec, z_b, z_a, joint=self.joint)
        losses = {
            "gan_a": model.gan_w * multi_scale_gen_loss(dis_a(x_ba), gan_type),
            "gan_b": model.gan_w * multi_scale_gen_loss(dis_b(x_ab), gan_type),
            "recon_x_a": model.recon_x_w * l1(x_a_recon, x_a),
            "recon_x_b": model.recon_x_w * l1(x_b_recon, x_b),
            "recon_kl_a": model.recon_kl_w * kl_loss(h_a),
            "recon_kl_b": model.recon_kl_w * kl_loss(h_b),
        }
        if model.recon_x_cyc_w or model.recon_kl_cyc_w:
            h_b_recon, h_a_recon = gen_a.enc(x_ba), gen_b.enc(x_ab)
            losses["recon_kl_cyc_a"] = model.recon_kl_cyc_w * kl_loss(h_a_recon)
            losses["recon_kl_cyc_b"] = model.recon_kl_cyc_w * kl_loss(h_b_recon)
            if model.recon_x_cyc_w:
                x_aba = gen_a.dec(h_a_recon + noise.n_a_recon)
                x_bab = gen_b.dec(h_b_recon + noise.n_b_recon)
                losses["recon_x_cyc_a"] = model.recon_x_cyc_w * l1(x_aba, x_a)
                losses["recon_x_cyc_b"] = model.recon_x_cyc_w * l1(x_bab, x_b)
        if model.vgg_w:
            losses["vgg_a"] = model.vgg_w * self.perceptual_loss(x_ba, x_b)
            losses["vgg_b"] = model.vgg_w * self.perceptual_loss(x_ab, x_a)
        return losses

    def iteration(
        self, x_a: Tensor, x_b: Tensor, noise: Noise, update: Update
    ) -> dict[str, Tensor]:
        """Discriminators first, then the generators against the updated discriminators."""
        gen_a, gen_b = self._gen("a"), self._gen("b")
        h_a, h_b = gen_a.enc(x_a), gen_b.enc(x_b)
        dis = self.dis_losses(x_a, x_b, h_a, h_b, noise)
        update(self.optimizers["dis"], *dis.values())

        if not self.joint:  # as the official code does: the generators have not changed
            h_a, h_b = gen_a.enc(x_a), gen_b.enc(x_b)
        with frozen(self.networks["dis_a"], self.networks["dis_b"]):
            gen = self.gen_losses(x_a, x_b, h_a, h_b, noise)
            update(self.optimizers["gen"], *gen.values())

        terms = {name: loss.detach() for name, loss in (dis | gen).items()}
        terms["gen"] = torch.stack([terms[name] for name in gen]).sum()
        return terms

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """One iteration with random latent noise, drawn anew for each of the two updates."""
        options = self.config.model.gen
        channels, multiple = options.dim * 2**options.n_downsample, self.multiple

        def draw(images: Tensor) -> Tensor:
            height, width = (side // multiple for side in images.shape[2:])
            shape = len(images), channels, height, width
            return torch.randn(shape, device=images.device, dtype=images.dtype)

        a, b = batch.a, batch.b
        noise = Noise(draw(a), draw(b), draw(a), draw(b), draw(b), draw(a))
        return self.iteration(a, b, noise, update)

    # -- use --------------------------------------------------------------------------------

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of one domain of the data set to the other."""
        source, target = self._domains(direction)
        return self._gen(target).dec(self._gen(source).enc(images))

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Input, reconstruction, translation and cycle of both domains, from mean codes."""
        columns: dict[str, Tensor] = {}
        for s, t, x in (("a", "b", batch.a), ("b", "a", batch.b)):
            gen_s, gen_t = self._gen(s), self._gen(t)
            h = gen_s.enc(x)
            translated = gen_t.dec(h)
            columns[f"x_{s}"] = x
            columns[f"x_{s}_recon"] = gen_s.dec(h)
            columns[f"x_{s}{t}"] = translated
            columns[f"x_{s}{t}{s}"] = gen_s.dec(gen_t.enc(translated))
        return columns
