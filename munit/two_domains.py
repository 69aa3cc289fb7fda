"""What MUNIT and UNIT share: an auto-encoder and a discriminator for each of two domains."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import Layout
from core.losses import augmented
from core.nn.joint import forward_each
from core.options import Direction
from core.training.optimizers import Optimizers, adam
from munit.config import MUNITConfig, UNITConfig
from munit.losses import PerceptualLoss, multi_scale_dis_loss, multi_scale_gen_loss
from munit.networks import AdaINGen, MsImageDis, VAEGen

ConfigT = TypeVar("ConfigT", MUNITConfig, UNITConfig)
GenT = TypeVar("GenT", AdaINGen, VAEGen)


class TwoDomains(Generic[ConfigT, GenT]):
    """gen_a and dis_a of domain a, gen_b and dis_b of domain b, and their two optimizers."""

    Generator: ClassVar[type[nn.Module]]
    layout: ClassVar[Layout] = "unpaired"
    ema_networks: ClassVar[tuple[str, ...]] = ("gen_a", "gen_b")
    objective: ClassVar[str] = "gen"
    directions: ClassVar[tuple[Direction, ...]] = ("AtoB", "BtoA")
    """Both: one generator encodes, the other decodes."""

    config: ConfigT

    def __init__(self, config: ConfigT, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {
                "gen": partial(adam, [networks["gen_a"], networks["gen_b"]], config.optim),
                "dis": partial(adam, [networks["dis_a"], networks["dis_b"]], config.optim),
            }
        )
        self.state: dict[str, Any] = {}
        model = config.model
        self.perceptual_loss = PerceptualLoss(
            model.vgg_weights, model.vgg_input, student=model.vgg == "vgg16_student"
        )

    @classmethod
    def build(cls, config: ConfigT) -> Self:
        """Make the networks with initial weights, and their optimizers."""
        model, recompute = config.model, config.train.gradient_checkpointing
        a, b = model.input_dim_a, model.input_dim_b

        def gen(channels: int) -> nn.Module:
            return cls.Generator(channels, model.gen, recompute=recompute)

        return cls(
            config,
            {
                "gen_a": gen(a),
                "gen_b": gen(b),
                "dis_a": MsImageDis(a, model.dis),
                "dis_b": MsImageDis(b, model.dis),
            },
        )

    def _gen(self, domain: str) -> GenT:
        return cast("GenT", self.networks[f"gen_{domain}"])

    def _domains(self, direction: Direction) -> tuple[str, str]:
        """Return source and target; data.direction BtoA makes the data set's B the model's a."""
        return ("a", "b") if direction == self.config.data.direction else ("b", "a")

    def dis_losses(self, x_ba: Tensor, x_a: Tensor, x_ab: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """Return what each discriminator minimises, weighted: translations against real images."""
        model, losses = self.config.model, {}
        for name, fake, real in (("dis_a", x_ba, x_a), ("dis_b", x_ab, x_b)):
            seen = augmented(fake, model.diffaug), augmented(real, model.diffaug)
            on_fake, on_real = forward_each(self.networks[name], *seen)
            losses[name] = model.gan_w * multi_scale_dis_loss(on_fake, on_real, model.dis.gan_type)
        return losses

    def gan_losses(self, x_ba: Tensor, x_ab: Tensor) -> dict[str, Tensor]:
        """Return what the generators minimise, weighted: their translations judged as real."""
        model, losses = self.config.model, {}
        for domain, fake in (("a", x_ba), ("b", x_ab)):
            on_fake = self.networks[f"dis_{domain}"](augmented(fake, model.diffaug))
            loss = multi_scale_gen_loss(on_fake, model.dis.gan_type)
            losses[f"gan_{domain}"] = model.gan_w * loss
        return losses

    def vgg_losses(self, x_ba: Tensor, x_a: Tensor, x_ab: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """Return the weighted perceptual distances of translation and source; none of weight 0."""
        weight = self.config.model.vgg_w
        if not weight:
            return {}
        return {
            "vgg_a": weight * self.perceptual_loss(x_ba, x_b),
            "vgg_b": weight * self.perceptual_loss(x_ab, x_a),
        }

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return self._gen("a").multiple

    @property
    def minimum(self) -> int:
        """Smallest image side for translating."""
        return self._gen("a").minimum
