"""What MUNIT and UNIT share: an auto-encoder and a discriminator for each of two domains."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from torch import nn
from torch.optim import Optimizer

from core.family import Layout
from core.options import Direction
from core.training.optimizers import adam
from munit.config import MUNITConfig, UNITConfig
from munit.joint import samples_meet
from munit.networks import AdaINGen, MsImageDis, VAEGen
from munit.perceptual import PerceptualLoss

ConfigT = TypeVar("ConfigT", MUNITConfig, UNITConfig)
GenT = TypeVar("GenT", AdaINGen, VAEGen)


class TwoDomains(Generic[ConfigT, GenT]):
    """gen_a and dis_a of domain a, gen_b and dis_b of domain b, and their two optimizers.

    Args:
        config: of the run.
        networks: by these names.
    """

    Generator: ClassVar[type[nn.Module]]
    layout: ClassVar[Layout] = "unpaired"
    ema_networks: ClassVar[tuple[str, ...]] = ("gen_a", "gen_b")
    objective: ClassVar[str] = "gen"

    config: ConfigT

    def __init__(self, config: ConfigT, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        self.optimizers: dict[str, Optimizer] = {
            "gen": adam([networks["gen_a"], networks["gen_b"]], config.optim),
            "dis": adam([networks["dis_a"], networks["dis_b"]], config.optim),
        }
        self.state: dict[str, Any] = {}
        model = config.model
        self.joint = config.train.joint_forward
        self.joint_dis = self.joint and not samples_meet(model.dis)
        self.perceptual_loss = PerceptualLoss(model.vgg_weights, model.vgg_input)

    @classmethod
    def build(cls, config: ConfigT) -> Self:
        """Networks with initial weights, and their optimizers."""
        model, train = config.model, config.train
        a, b = model.input_dim_a, model.input_dim_b

        def gen(channels: int) -> nn.Module:
            return cls.Generator(channels, model.gen, recompute=train.gradient_checkpointing)

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
        """Source and target; data.direction BtoA makes the data set's B the model's a."""
        return ("a", "b") if direction == self.config.data.direction else ("b", "a")

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return self._gen("a").multiple

    @property
    def minimum(self) -> int:
        """Smallest image side for translating."""
        return self._gen("a").minimum

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Both: one generator encodes, the other decodes."""
        return ("AtoB", "BtoA")
