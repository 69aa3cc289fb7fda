"""CycleGAN: unpaired image-to-image translation (Zhu, Park, Isola, Efros, ICCV 2017).

Names as in the official code: G_A translates A to B, G_B B to A; D_A judges images of domain B
against G_A's, D_B images of domain A; idt_A = G_A(real_B).

Deviations from the official code: G_A(real_A) and G_A(real_B) are one forward over both where that
is the same function (`core.nn.joint`), and so are a discriminator's real and fake images. The image
pools are part of a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import ImageBatch, Layout, Update
from core.losses import augmented, dis_loss, gen_loss, gradient_penalty, l1
from core.nn.factory import Generator, make_discriminator, make_generator
from core.nn.joint import forward_each, is_independent
from core.options import Direction
from core.training.image_pool import ImagePool
from core.training.optimizers import Optimizers, adam
from core.training.update import frozen
from cyclegan.config import Config as CycleGANConfig


@dataclass(frozen=True)
class Translations:
    """What one forward gives; all [N, C, H, W] in [-1, 1]."""

    fake_B: Tensor
    rec_A: Tensor
    fake_A: Tensor
    rec_B: Tensor
    idt_A: Tensor | None
    idt_B: Tensor | None


class CycleGAN:
    """Two generators and two discriminators; see the module's text for their names."""

    name: ClassVar[str] = "cyclegan"
    Config: ClassVar[type[CycleGANConfig]] = CycleGANConfig
    layout: ClassVar[Layout] = "unpaired"
    ema_networks: ClassVar[tuple[str, ...]] = ("G_A", "G_B")
    objective: ClassVar[str] = "G"

    def __init__(self, config: CycleGANConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {
                "G": partial(adam, [networks["G_A"], networks["G_B"]], config.optim),
                "D": partial(adam, [networks["D_A"], networks["D_B"]], config.optim),
            }
        )
        seed = config.train.seed
        self.state: dict[str, Any] = {
            "pool_A": ImagePool(config.model.pool_size, seed),
            "pool_B": ImagePool(config.model.pool_size, seed + 1),
        }

    @classmethod
    def build(cls, config: CycleGANConfig) -> Self:
        """Make the networks with initial weights, and their optimizers."""
        model, recompute = config.model, config.train.gradient_checkpointing
        a, b = model.input_nc, model.output_nc
        return cls(
            config,
            {
                "G_A": make_generator(model, a, b, gradient_checkpointing=recompute),
                "G_B": make_generator(model, b, a, gradient_checkpointing=recompute),
                "D_A": make_discriminator(model, b),
                "D_B": make_discriminator(model, a),
            },
        )

    def _any_generator(self) -> Generator:
        # Both have the same architecture; a released checkpoint has only one.
        name = "G_A" if "G_A" in self.networks else "G_B"
        return cast("Generator", self.networks[name])

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return self._any_generator().multiple

    @property
    def minimum(self) -> int:
        """Smallest image side for translating."""
        return self._any_generator().minimum

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Both directions, unless the checkpoint held only one generator."""
        both: tuple[Direction, ...] = ("AtoB", "BtoA")
        return tuple(d for d in both if self._generator_name(d) in self.networks)

    def _generator_name(self, direction: Direction) -> str:
        # data.direction BtoA makes the data set's B the model's A.
        return "G_A" if direction == self.config.data.direction else "G_B"

    def forward(self, real_A: Tensor, real_B: Tensor) -> Translations:
        """Translate a pair of batches [N, C, H, W] there, back, and to themselves."""
        G_A, G_B = self.networks["G_A"], self.networks["G_B"]
        identity = self.config.model.lambda_identity > 0
        if identity and is_independent(G_A) and is_independent(G_B):
            fake_B, idt_A = forward_each(G_A, real_A, real_B)
            fake_A, idt_B = forward_each(G_B, real_B, real_A)
            return Translations(fake_B, G_B(fake_B), fake_A, G_A(fake_A), idt_A, idt_B)
        # In the published order, on which running statistics and dropout masks depend.
        fake_B = G_A(real_A)
        rec_A = G_B(fake_B)
        fake_A = G_B(real_B)
        rec_B = G_A(fake_A)
        if not identity:
            return Translations(fake_B, rec_A, fake_A, rec_B, None, None)
        return Translations(fake_B, rec_A, fake_A, rec_B, G_A(real_B), G_B(real_A))

    def discriminator_loss(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Return half the sum of its terms, a critic's penalty among them; `fake` is detached."""
        model = self.config.model
        real, fake = (augmented(x, model.diffaug) for x in (real, fake.detach()))
        on_real, on_fake = forward_each(D, real, fake)
        loss = dis_loss(on_real, model.gan_mode, real=True)
        loss = loss + dis_loss(on_fake, model.gan_mode, real=False)
        if model.gan_mode == "wgangp":
            loss = loss + gradient_penalty(D, real, fake, weight=model.lambda_gp)
        return 0.5 * loss

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update both generators; then both discriminators, on the fakes made before that."""
        real_A, real_B, model = batch.a, batch.b, self.config.model
        D_A, D_B = self.networks["D_A"], self.networks["D_B"]
        x = self.forward(real_A, real_B)

        with frozen(D_A, D_B):
            gen = {
                # Eq. 1, both directions
                "G_A": gen_loss(D_A(augmented(x.fake_B, model.diffaug)), model.gan_mode),
                "G_B": gen_loss(D_B(augmented(x.fake_A, model.diffaug)), model.gan_mode),
                # Eq. 2
                "cycle_A": model.lambda_A * l1(x.rec_A, real_A),
                "cycle_B": model.lambda_B * l1(x.rec_B, real_B),
            }
            if x.idt_A is not None and x.idt_B is not None:  # section 5.2
                gen["idt_A"] = model.lambda_B * model.lambda_identity * l1(x.idt_A, real_B)
                gen["idt_B"] = model.lambda_A * model.lambda_identity * l1(x.idt_B, real_A)
            update(self.optimizers["G"], *gen.values())

        fake_B = self.state["pool_B"].query(x.fake_B)
        fake_A = self.state["pool_A"].query(x.fake_A)
        dis = {
            "D_A": self.discriminator_loss(D_A, real_B, fake_B),
            "D_B": self.discriminator_loss(D_B, real_A, fake_A),
        }
        update(self.optimizers["D"], *dis.values())

        losses = gen | dis | {"G": torch.stack([*gen.values()]).sum()}
        return {name: loss.detach() for name, loss in losses.items()}

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Show input, translation, cycle and identity of both domains, in the official order."""
        x = self.forward(batch.a, batch.b)
        columns = {
            "real_A": batch.a,
            "fake_B": x.fake_B,
            "rec_A": x.rec_A,
            "idt_B": x.idt_B,
            "real_B": batch.b,
            "fake_A": x.fake_A,
            "rec_B": x.rec_B,
            "idt_A": x.idt_A,
        }
        return {name: images for name, images in columns.items() if images is not None}

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1] of one domain of the data set to the other."""
        return self.networks[self._generator_name(direction)](images)
