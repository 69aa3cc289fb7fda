"""pix2pix: paired image-to-image translation (Isola, Zhu, Zhou, Efros, CVPR 2017).

G translates the condition A to B; D judges the pair [A, B]. The discriminator is updated first,
and the generator's adversarial term sees it after that.

Deviations from the official code: the discriminator's fake and real pair go through it in one
forward where that is the same function (`core.nn.joint`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import ImageBatch, Layout, Update
from core.losses import augmented, dis_loss, gen_loss, gradient_penalty, l1
from core.nn.factory import Generator, make_discriminator, make_generator
from core.nn.joint import forward_each
from core.options import Direction
from core.training.image_pool import ImagePool
from core.training.optimizers import Optimizers, adam
from core.training.update import frozen
from pix2pix.config import Config as Pix2PixConfig


def pair(condition: Tensor, image: Tensor) -> Tensor:
    """Join what the discriminator sees: [N, C_A + C_B, H, W], condition first."""
    return torch.cat([condition, image.to(condition.dtype)], dim=1)


class Pix2Pix:
    """A generator G and a conditional discriminator D."""

    name: ClassVar[str] = "pix2pix"
    Config: ClassVar[type[Pix2PixConfig]] = Pix2PixConfig
    layout: ClassVar[Layout] = "paired"
    ema_networks: ClassVar[tuple[str, ...]] = ("G",)
    objective: ClassVar[str] = "G"

    def __init__(self, config: Pix2PixConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {
                "G": partial(adam, [networks["G"]], config.optim),
                "D": partial(adam, [networks["D"]], config.optim),
            }
        )
        self.state: dict[str, Any] = {"pool": ImagePool(config.model.pool_size, config.train.seed)}

    @classmethod
    def build(cls, config: Pix2PixConfig) -> Self:
        """Make the networks with initial weights, and their optimizers."""
        model, recompute = config.model, config.train.gradient_checkpointing
        a, b = model.input_nc, model.output_nc
        return cls(
            config,
            {
                "G": make_generator(model, a, b, gradient_checkpointing=recompute),
                "D": make_discriminator(model, a + b),
            },
        )

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return cast("Generator", self.networks["G"]).multiple

    @property
    def minimum(self) -> int:
        """Smallest image side for translating."""
        return cast("Generator", self.networks["G"]).minimum

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The one direction that it is trained for."""
        return (self.config.data.direction,)

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update the discriminator; then the generator against the updated discriminator."""
        real_A, real_B, model = batch.a, batch.b, self.config.model
        G, D = self.networks["G"], self.networks["D"]
        fake_B = G(real_A)

        real_pair = self.augmented(pair(real_A, real_B))
        fake_pair = self.augmented(self.state["pool"].query(pair(real_A, fake_B)))
        on_fake, on_real = forward_each(D, fake_pair, real_pair)
        D_fake = dis_loss(on_fake, model.gan_mode, real=False)
        D_real = dis_loss(on_real, model.gan_mode, real=True)
        loss_D = 0.5 * (D_fake + D_real)
        if model.gan_mode == "wgangp":
            penalty = gradient_penalty(D, real_pair, fake_pair, weight=model.lambda_gp)
            loss_D = loss_D + 0.5 * penalty
        update(self.optimizers["D"], loss_D)

        with frozen(D):
            on_fake = D(self.augmented(pair(real_A, fake_B)))
            G_GAN = gen_loss(on_fake, model.gan_mode)  # eq. 1
            G_L1 = model.lambda_L1 * l1(fake_B, real_B)  # eq. 3
            update(self.optimizers["G"], G_GAN, G_L1)

        losses = {
            "G_GAN": G_GAN,
            "G_L1": G_L1,
            "D_real": D_real,
            "D_fake": D_fake,
            "D": loss_D,
            "G": G_GAN + G_L1,
        }
        return {name: loss.detach() for name, loss in losses.items()}

    def augmented(self, pairs: Tensor) -> Tensor:
        """Return what the discriminator sees of pairs: both images of one are changed alike."""
        model = self.config.model
        return augmented(pairs, model.diffaug, (model.input_nc, model.output_nc))

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Show the three official columns."""
        fake_B = self.translate(batch.a, self.config.data.direction)
        return {"real_A": batch.a, "fake_B": fake_B, "real_B": batch.b}

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Translate conditions [N, C_A, H, W] in [-1, 1] to B, in the one direction there is."""
        assert direction in self.directions
        return self.networks["G"](images)
