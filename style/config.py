"""Options of training PhotoWCT's decoders (`style.family`).

The official training code is not published; these follow WCT (Li et al., NIPS 2017, section 3.1),
whose decoders are trained alike: images reconstructed from relu{L}_1, 256 px crops, both terms
weighted 1.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from core.nn.vgg import VGGDepth, VGGInput
from core.options import (
    OptimOptions,
    Options,
    Policy,
    PositiveFloat,
    PositiveInt,
    Preprocess,
    RunConfig,
    SingleDataOptions,
    TrainOptions,
    Weight,
)


class Data(SingleDataOptions):
    """Any folder of photos."""

    preprocess: Preprocess = "scale_width_and_crop"
    load_size: PositiveInt = 512
    crop_size: PositiveInt = 256
    flip: bool = True


class Model(Options):
    """The encoder, and the weights of the terms."""

    vgg: VGGDepth = 19
    """Depth of the encoder; published: 19."""
    encoder: str | None = None
    """File with the encoder's weights: `photo_wct.pth`, or a VGG of this depth. Without one its
    filters stay random: features that carry texture all the same (Ustyuzhaninov et al. 2017)."""
    vgg_input: VGGInput = "torchvision"
    """What a VGG file's weights expect."""
    lambda_reconstruction: Weight = 1.0
    lambda_feature: Weight = 1.0


class Train(TrainOptions):
    """Steps are counted, not epochs: photo collections differ in size."""

    num_steps: PositiveInt | None = 40000
    batch_size: PositiveInt = 8


class Optim(OptimOptions):
    """Adam at a constant rate."""

    lr: PositiveFloat = 1e-4
    beta1: float = 0.9
    policy: Policy = "constant"


class Config(RunConfig):
    """A run that trains `dec1..dec4`."""

    family: Literal["style"] = "style"
    data: Data
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @property
    def channels(self) -> tuple[int]:
        """Channels of the one domain."""
        return (3,)

    @model_validator(mode="after")
    def _something_to_learn_and_nothing_to_recompute(self) -> Self:
        if not self.model.lambda_reconstruction and not self.model.lambda_feature:
            raise ValueError("lambda_reconstruction and lambda_feature are both 0: give a weight")
        if self.train.gradient_checkpointing:
            raise ValueError(
                "train.gradient_checkpointing: true, but these networks have no residual blocks to "
                "recompute; set it to false"
            )
        return self
