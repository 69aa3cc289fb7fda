"""MUNIT: multimodal unsupervised translation (Huang, Liu, Belongie, Kautz, ECCV 2018).

An image x_a is a content code c_a, shared by both domains, and a style code s_a of its own domain.
gen_a encodes and decodes images of domain a, gen_b those of b; x_ab = gen_b.decode(c_a, s_b) with a
random style s_b is a translation. dis_a judges images of domain a. Names as in the official
`trainer.py` (NVlabs/MUNIT).

Deviations from the official code: with `train.joint_forward` what is the same function of the same
weights is computed once (the codes of both updates) or in one pass (two styles of one decoder, real
and fake of one discriminator); the numbers are the same. Discriminators are frozen while the
generators are updated, and fakes for the discriminators are made without gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.family import ImageBatch, Update
from core.losses import l1
from core.options import Direction
from core.training.update import frozen
from munit.config import MUNITConfig
from munit.joint import decode_each, judge_each
from munit.losses import multi_scale_dis_loss, multi_scale_gen_loss
from munit.networks import AdaINGen
from munit.two_domains import TwoDomains

NUM_PREVIEW_STYLES = 3


@dataclass(frozen=True)
class Styles:
    """Random styles of one iteration in the order of drawing, each [N, style_dim]."""

    s_a_dis: Tensor
    s_b_dis: Tensor
    s_a: Tensor
    s_b: Tensor


@dataclass(frozen=True)
class Codes:
    """Content [N, C', H', W'] and style [N, style_dim] of an image of each domain."""

    c_a: Tensor
    s_a: Tensor
    c_b: Tensor
    s_b: Tensor


@dataclass(frozen=True)
class Translations:
    """What the generators make of two images and two random styles."""

    x_a_recon: Tensor
    x_b_recon: Tensor
    x_ba: Tensor
    x_ab: Tensor
    recon: Codes
    """Codes of the translations: c_a of x_ab, s_a of x_ba, and so on."""
    x_aba: Tensor | None
    x_bab: Tensor | None


class MUNIT(TwoDomains[MUNITConfig, AdaINGen]):
    """Two auto-encoders and two discriminators; see the module's text for their names."""

    name: ClassVar[str] = "munit"
    Config: ClassVar[type[MUNITConfig]] = MUNITConfig
    Generator: ClassVar[type[nn.Module]] = AdaINGen

    @property
    def style_dim(self) -> int:
        """Length of a style code."""
        return self.config.model.gen.style_dim

    # -- training ---------------------------------------------------------------------------

    def encode(self, x_a: Tensor, x_b: Tensor) -> Codes:
        """Codes of a pair of batches [N, C, H, W]."""
        return Codes(*self._gen("a").encode(x_a), *self._gen("b").encode(x_b))

    def forward(self, codes: Codes, s_a: Tensor, s_b: Tensor) -> Translations:
        """Reconstructions, translations with the random styles, and the way back."""
        gen_a, gen_b = self._gen("a"), self._gen("b")
        c_a, c_b = codes.c_a, codes.c_b
        x_a_recon, x_ba = decode_each(gen_a, (c_a, codes.s_a), (c_b, s_a), joint=self.joint)
        x_b_recon, x_ab = decode_each(gen_b, (c_b, codes.s_b), (c_a, s_b), joint=self.joint)
        c_b_recon, s_a_recon = gen_a.encode(x_ba)
        c_a_recon, s_b_recon = gen_b.encode(x_ab)
        x_aba = x_bab = None
        if self.config.model.recon_x_cyc_w:
            # With the style of the image itself: the random one is that of the other domain.
            x_aba = gen_a.decode(c_a_recon, codes.s_a)
            x_bab = gen_b.decode(c_b_recon, codes.s_b)
        recon = Codes(c_a_recon, s_a_recon, c_b_recon, s_b_recon)
        return Translations(x_a_recon, x_b_recon, x_ba, x_ab, recon, x_aba, x_bab)

    def dis_losses(
        self, x_a: Tensor, x_b: Tensor, codes: Codes, styles: Styles
    ) -> dict[str, Tensor]:
        """The discriminators' objectives, weighted, on translations of their own."""
        model = self.config.model
        with torch.no_grad():
            x_ba = self._gen("a").decode(codes.c_b, styles.s_a_dis)
            x_ab = self._gen("b").decode(codes.c_a, styles.s_b_dis)
        losses = {}
        for name, fake, real in (("dis_a", x_ba, x_a), ("dis_b", x_ab, x_b)):
            on_fake, on_real = judge_each(self.networks[name], fake, real, joint=self.joint_dis)
            loss = multi_scale_dis_loss(on_fake, on_real, model.dis.gan_type)
            losses[name] = model.gan_w * loss
        return losses

    def gen_losses(
        self, x_a: Tensor, x_b: Tensor, codes: Codes, styles: Styles
    ) -> dict[str, Tensor]:
        """The terms of the generators' objective (eq. 5 and section 5.1), weighted."""
        model, gan_type = self.config.model, self.config.model.dis.gan_type
        dis_a, dis_b = self.networks["dis_a"], self.networks["dis_b"]
        x = self.forward(codes, styles.s_a, styles.s_b)
        losses = {
            "gan_a": model.gan_w * multi_scale_gen_loss(dis_a(x.x_ba), gan_type),
            "gan_b": model.gan_w * multi_scale_gen_loss(dis_b(x.x_ab), gan_type),
            "recon_x_a": model.recon_x_w * l1(x.x_a_recon, x_a),
            "recon_x_b": model.recon_x_w * l1(x.x_b_recon, x_b),
            "recon_s_a": model.recon_s_w * l1(x.recon.s_a, styles.s_a),
            "recon_s_b": model.recon_s_w * l1(x.recon.s_b, styles.s_b),
            "recon_c_a": model.recon_c_w * l1(x.recon.c_a, codes.c_a),
            "recon_c_b": model.recon_c_w * l1(x.recon.c_b, codes.c_b),
        }
        if x.x_aba is not None and x.x_bab is not None:
            losses["recon_x_cyc_a"] = model.recon_x_cyc_w * l1(x.x_aba, x_a)
            losses["recon_x_cyc_b"] = model.recon_x_cyc_w * l1(x.x_bab, x_b)
        if model.vgg_w:
            losses["vgg_a"] = model.vgg_w * self.perceptual_loss(x.x_ba, x_b)
            losses["vgg_b"] = model.vgg_w * self.perceptual_loss(x.x_ab, x_a)
        return losses

    def iteration(
        self, x_a: Tensor, x_b: Tensor, styles: Styles, update: Update
    ) -> dict[str, Tensor]:
        """Discriminators first, then the generators against the updated discriminators."""
        codes = self.encode(x_a, x_b)
        dis = self.dis_losses(x_a, x_b, codes, styles)
        update(self.optimizers["dis"], *dis.values())

        if not self.joint:  # as the official code does: the generators have not changed
            codes = self.encode(x_a, x_b)
        with frozen(self.networks["dis_a"], self.networks["dis_b"]):
            gen = self.gen_losses(x_a, x_b, codes, styles)
            update(self.optimizers["gen"], *gen.values())

        terms = {name: loss.detach() for name, loss in (dis | gen).items()}
        terms["gen"] = torch.stack([terms[name] for name in gen]).sum()
        return terms

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """One iteration with random styles, drawn anew for each of the two updates."""

        def draw(images: Tensor) -> Tensor:
            shape = len(images), self.style_dim
            return torch.randn(shape, device=images.device, dtype=images.dtype)

        a, b = batch.a, batch.b
        return self.iteration(a, b, Styles(draw(b), draw(a), draw(b), draw(a)), update)

    # -- use --------------------------------------------------------------------------------

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Styles [num, style_dim] from the prior N(0, 1), float32, on the generator's device."""
        device = "cpu" if generator is None else generator.device
        return torch.randn(num, self.style_dim, generator=generator, device=device)

    def _fixed_styles(self, num: int, images: Tensor) -> Tensor:
        # A generator of its own: looking must not disturb the training's random numbers.
        styles = self.random_styles(num, torch.Generator().manual_seed(0))
        return styles.to(images.device, images.dtype)

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        """Images [N, C, H, W] of the direction's target domain to styles [N, style_dim]."""
        return self._gen(self._domains(direction)[1]).enc_style(images)

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        """Images [N, C, H, W] of the direction's source domain to content [N, C', H', W']."""
        return self._gen(self._domains(direction)[0]).enc_content(images)

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        """Content and styles [N, style_dim] to images [N, C, H, W] of the target domain."""
        return self._gen(self._domains(direction)[1]).decode(content, styles)

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of one domain of the data set to the other.

        Args:
            images: of the source domain.
            direction: which is the source.
            styles: [N, style_dim] of the target domain; None: one fixed style per image.
        """
        if styles is None:
            styles = self._fixed_styles(len(images), images)
        return self.decode(self.encode_content(images, direction), styles, direction)

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Input, reconstruction, three fixed styles, the other image's style, cycle; both ways."""
        x = {"a": batch.a, "b": batch.b}
        codes = self.encode(batch.a, batch.b)
        content, style = {"a": codes.c_a, "b": codes.c_b}, {"a": codes.s_a, "b": codes.s_b}
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
