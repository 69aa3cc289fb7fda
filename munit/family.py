"""MUNIT: multimodal unsupervised translation (Huang, Liu, Belongie, Kautz, ECCV 2018).

An image x_a is a content code c_a, of a space that both domains share, and a style code s_a_prime
of its own domain. gen_a encodes and decodes images of domain a, gen_b those of b; a translation is
x_ab = gen_b.decode(c_a, s_b) with a random style s_b. dis_a judges images of domain a. Names as in
the official `trainer.py` (NVlabs/MUNIT).

Deviations from the official code: the codes of an image serve both updates, and what is the same
function of the same weights goes through a network in one pass (`core.nn.joint`): two codes through
a decoder, fake and real images through a discriminator. Discriminators are frozen while the
generators are updated, and fakes for the discriminators are made without gradients.
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
from munit.config import MUNITConfig
from munit.networks import AdaINGen
from munit.two_domains import TwoDomains

NUM_PREVIEW_STYLES = 3


class MUNIT(TwoDomains[MUNITConfig, AdaINGen]):
    """Two auto-encoders and two discriminators; see the module's text for their names."""

    name: ClassVar[str] = "munit"
    Config: ClassVar[type[MUNITConfig]] = MUNITConfig
    Generator: ClassVar[type[nn.Module]] = AdaINGen

    @property
    def style_dim(self) -> int:
        """Length of a style code."""
        return self.config.model.gen.style_dim

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update the discriminators, then the generators against the updated discriminators.

        Each of the two updates has random styles of its own.
        """
        x_a, x_b = batch.a, batch.b
        model = self.config.model
        gen_a, gen_b = self._gen("a"), self._gen("b")
        dis_a, dis_b = self.networks["dis_a"], self.networks["dis_b"]
        c_a, s_a_prime = gen_a.encode(x_a)
        c_b, s_b_prime = gen_b.encode(x_b)

        with torch.no_grad():
            x_ba = gen_a.decode(c_b, normal(x_b, len(x_b), self.style_dim))
            x_ab = gen_b.decode(c_a, normal(x_a, len(x_a), self.style_dim))
        dis = self.dis_losses(x_ba, x_a, x_ab, x_b)
        update(self.optimizers["dis"], *dis.values())

        s_a = normal(x_b, len(x_b), self.style_dim)
        s_b = normal(x_a, len(x_a), self.style_dim)
        with frozen(dis_a, dis_b):
            x_a_recon, x_ba = forward_each(gen_a.decode, (c_a, s_a_prime), (c_b, s_a))
            x_b_recon, x_ab = forward_each(gen_b.decode, (c_b, s_b_prime), (c_a, s_b))
            c_b_recon, s_a_recon = gen_a.encode(x_ba)
            c_a_recon, s_b_recon = gen_b.encode(x_ab)
            gen = {  # eq. 5
                **self.gan_losses(x_ba, x_ab),
                "recon_x_a": model.recon_x_w * l1(x_a_recon, x_a),
                "recon_x_b": model.recon_x_w * l1(x_b_recon, x_b),
                "recon_c_a": model.recon_c_w * l1(c_a_recon, c_a),
                "recon_c_b": model.recon_c_w * l1(c_b_recon, c_b),
                "recon_s_a": model.recon_s_w * l1(s_a_recon, s_a),
                "recon_s_b": model.recon_s_w * l1(s_b_recon, s_b),
            }
            if model.recon_x_cyc_w:  # section 5.1; back with the style of the image itself
                x_aba = gen_a.decode(c_a_recon, s_a_prime)
                x_bab = gen_b.decode(c_b_recon, s_b_prime)
                gen["recon_x_cyc_a"] = model.recon_x_cyc_w * l1(x_aba, x_a)
                gen["recon_x_cyc_b"] = model.recon_x_cyc_w * l1(x_bab, x_b)
            gen |= self.vgg_losses(x_ba, x_a, x_ab, x_b)
            update(self.optimizers["gen"], *gen.values())

        losses = dis | gen | {"gen": torch.stack([*gen.values()]).sum()}
        return {name: loss.detach() for name, loss in losses.items()}

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw styles [num, style_dim] from N(0, 1), float32, on the generator's device."""
        device = "cpu" if generator is None else generator.device
        return torch.randn(num, self.style_dim, generator=generator, device=device)

    def _fixed_styles(self, num: int, images: Tensor) -> Tensor:
        # A generator of its own: looking must not disturb the training's random numbers.
        styles = self.random_styles(num, torch.Generator().manual_seed(0))
        return styles.to(images.device, images.dtype)

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        """Encode images [N, C, H, W] of the direction's target domain as styles [N, style_dim]."""
        return self._gen(self._domains(direction)[1]).enc_style(images)

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        """Encode images [N, C, H, W] of the source domain as content [N, C', H', W']."""
        return self._gen(self._domains(direction)[0]).enc_content(images)

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        """Decode content and styles [N, style_dim] to images [N, C, H, W] of the target domain.

        The content of one image goes with every style.
        """
        if content.shape[0] != styles.shape[0]:
            content = content.expand(styles.shape[0], -1, -1, -1)
        return self._gen(self._domains(direction)[1]).decode(content, styles)

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1] of one domain of the data set to the other.

        Styles are [N, style_dim], of the target domain; None takes one fixed style per image.
        """
        if styles is None:
            styles = self._fixed_styles(len(images), images)
        return self.decode(self.encode_content(images, direction), styles, direction)

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Show both ways: input, reconstruction, three fixed styles, the other's style, cycle."""
        x = {"a": batch.a, "b": batch.b}
        content = {domain: self._gen(domain).enc_content(x[domain]) for domain in x}
        style = {domain: self._gen(domain).enc_style(x[domain]) for domain in x}
        columns: dict[str, Tensor] = {}
        for s, t in (("a", "b"), ("b", "a")):
            columns[f"x_{s}"] = x[s]
            columns[f"x_{s}_recon"] = self._gen(s).decode(content[s], style[s])
            fixed = self._fixed_styles(NUM_PREVIEW_STYLES, x[s])
            for number, code in enumerate(fixed, start=1):
                translated = self._gen(t).decode(content[s], code.expand(len(x[s]), -1))
                columns[f"x_{s}{t}_{number}"] = translated
            columns[f"x_{s}{t}_guided"] = self._gen(t).decode(content[s], style[t])
            if self.config.model.recon_x_cyc_w:
                back = self._gen(t).enc_content(columns[f"x_{s}{t}_1"])
                columns[f"x_{s}{t}{s}"] = self._gen(s).decode(back, style[s])
        return columns
