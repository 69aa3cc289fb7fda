"""UNIT: unsupervised translation through a shared latent space (Liu, Breuel, Kautz, NIPS 2017).

As trained by the official MUNIT repository (`trainer.py:UNIT_Trainer`): the latent code of x_a is
normal about h_a = gen_a.enc(x_a) with deviation 1, and gen_b.dec(h_a + noise) is a translation.
dis_a judges images of domain a. The weights of both generators are their own; what they share is
the distribution of the codes. Translating takes the mean.

Deviations from the official code: those of `munit.family`. A cycle weight of 0 skips the cycle,
where the official trainer fails.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.family import ImageBatch, Update
from core.losses import l1
from core.nn.joint import forward_each
from core.noise import normal
from core.options import Direction
from core.training.update import frozen
from munit.config import UNITConfig
from munit.losses import kl_loss
from munit.networks import VAEGen
from munit.two_domains import TwoDomains


class UNIT(TwoDomains[UNITConfig, VAEGen]):
    """Two variational auto-encoders and two discriminators; see the module's text."""

    name: ClassVar[str] = "unit"
    Config: ClassVar[type[UNITConfig]] = UNITConfig
    Generator: ClassVar[type[nn.Module]] = VAEGen

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update the discriminators, then the generators against the updated discriminators.

        Each of the two updates has latent noise of its own.
        """
        x_a, x_b = batch.a, batch.b
        model = self.config.model
        gen_a, gen_b = self._gen("a"), self._gen("b")
        dis_a, dis_b = self.networks["dis_a"], self.networks["dis_b"]
        h_a, h_b = gen_a.enc(x_a), gen_b.enc(x_b)

        with torch.no_grad():
            z_a, z_b = h_a + normal(x_a, *h_a.shape), h_b + normal(x_b, *h_b.shape)
            x_ba, x_ab = gen_a.dec(z_b), gen_b.dec(z_a)
        dis = self.dis_losses(x_ba, x_a, x_ab, x_b)
        update(self.optimizers["dis"], *dis.values())

        with frozen(dis_a, dis_b):
            # One noise for both decodings of a code
            z_a, z_b = h_a + normal(x_a, *h_a.shape), h_b + normal(x_b, *h_b.shape)
            x_a_recon, x_ba = forward_each(gen_a.dec, z_a, z_b)
            x_b_recon, x_ab = forward_each(gen_b.dec, z_b, z_a)
            gen = {  # eq. 4
                **self.gan_losses(x_ba, x_ab),
                "recon_x_a": model.recon_x_w * l1(x_a_recon, x_a),
                "recon_x_b": model.recon_x_w * l1(x_b_recon, x_b),
                "recon_kl_a": model.recon_kl_w * kl_loss(h_a),
                "recon_kl_b": model.recon_kl_w * kl_loss(h_b),
            }
            if model.recon_x_cyc_w or model.recon_kl_cyc_w:
                h_b_recon, h_a_recon = gen_a.enc(x_ba), gen_b.enc(x_ab)
                gen["recon_kl_cyc_a"] = model.recon_kl_cyc_w * kl_loss(h_a_recon)
                gen["recon_kl_cyc_b"] = model.recon_kl_cyc_w * kl_loss(h_b_recon)
            if model.recon_x_cyc_w:
                x_bab = gen_b.dec(h_b_recon + normal(x_b, *h_b.shape))
                x_aba = gen_a.dec(h_a_recon + normal(x_a, *h_a.shape))
                gen["recon_x_cyc_a"] = model.recon_x_cyc_w * l1(x_aba, x_a)
                gen["recon_x_cyc_b"] = model.recon_x_cyc_w * l1(x_bab, x_b)
            gen |= self.vgg_losses(x_ba, x_a, x_ab, x_b)
            update(self.optimizers["gen"], *gen.values())

        losses = dis | gen | {"gen": torch.stack([*gen.values()]).sum()}
        return {name: loss.detach() for name, loss in losses.items()}

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1] of one domain of the data set to the other."""
        source, target = self._domains(direction)
        return self._gen(target).dec(self._gen(source).enc(images))

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Show input, reconstruction, translation and cycle of both domains, from mean codes."""
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
