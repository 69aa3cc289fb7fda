"""Options of CycleGAN; the defaults are those of the official code (junyanz, commit 00d5574)."""

from typing import Literal, Self

from pydantic import model_validator

from core.losses import GanMode
from core.nn.factory import GeneratorName, NetworkOptions, NetworksConfig
from core.nn.norms import NormName
from core.options import CountInt, Weight


class Model(NetworkOptions):
    """Networks and loss weights (official `models/cycle_gan_model.py`, `options/*.py`)."""

    generator: GeneratorName = "resnet_9blocks"
    norm: NormName = "instance"
    dropout: bool = False
    gan_mode: GanMode = "lsgan"
    lambda_A: Weight = 10.0
    """Weight of the cycle A -> B -> A."""
    lambda_B: Weight = 10.0
    """Weight of the cycle B -> A -> B."""
    lambda_identity: Weight = 0.5
    """Weight of the identity loss relative to the cycles'; the paper uses it for paintings only."""
    pool_size: CountInt = 50

    @model_validator(mode="after")
    def _identity_needs_equal_channels(self) -> Self:
        if self.lambda_identity and self.input_nc != self.output_nc:
            raise ValueError(
                "lambda_identity needs input_nc = output_nc: set lambda_identity: 0 for domains "
                "with different channels"
            )
        return self


class Config(NetworksConfig):
    """A CycleGAN run."""

    family: Literal["cyclegan"] = "cyclegan"
    model: Model = Model()
