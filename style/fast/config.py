"""Options of the feed-forward stylizer (`style.fast.family`)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from core.options import (
    CountInt,
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
from style.neural.config import Layers
from style.neural.config import Model as EncoderOptions


class Data(SingleDataOptions):
    """Any folder of photos."""

    preprocess: Preprocess = "scale_shorter_and_crop"
    load_size: PositiveInt = 256
    crop_size: PositiveInt = 256
    flip: bool = True


class Style(Options):
    """The styles that are learnt, each by its place in the list."""

    images: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files of paintings."""
    size: PositiveInt = 256
    """Pixels; longer side at which they are looked at: larger ones carry larger features."""


class Model(EncoderOptions):
    """The encoder that judges, the weights of the terms, and the width of the network."""

    encoder: Literal[
        "vgg19_caffe",
        "vgg19_torchvision",
        "vgg16_caffe",
        "vgg16_torchvision",
        "vgg16_student",
        "random_filters",
    ] = "vgg16_student"
    content_layers: Layers = ("relu3_1",)
    style_layers: Layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    """Johnson et al. take the last layer of each of VGG-16's blocks instead; the student has the
    first ones only."""
    lambda_content: Weight = 1.0
    lambda_style: Weight = 1.0
    lambda_tv: Weight = 0.1
    """Total variation, of images in [-1, 1]."""
    width: PositiveInt = 48
    """Channels of the residual blocks; half as many outside."""
    num_blocks: PositiveInt = 5
    smallest: PositiveInt = 160
    """Pixels; each step's batch has a size drawn between this and the crop's."""


class Train(TrainOptions):
    """Steps are counted, not epochs."""

    num_steps: PositiveInt | None = 20000
    num_steps_decay: CountInt = 20000
    batch_size: PositiveInt = 4
    accumulate: Literal[1] = 1
    """What a step draws is for the whole batch."""


class Optim(OptimOptions):
    """Adam, as Johnson et al."""

    lr: PositiveFloat = 1e-3
    beta1: float = 0.9
    policy: Policy = "linear"


class Config(RunConfig):
    """A run that trains one network for several styles."""

    folder: ClassVar[str] = "style"
    family: Literal["fast_style"] = "fast_style"
    data: Data
    style: Style
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @property
    def channels(self) -> tuple[int]:
        """Channels of the one domain."""
        return (3,)

    @model_validator(mode="after")
    def _sizes_and_nothing_to_recompute(self) -> Self:
        if self.model.smallest > self.data.crop_size:
            raise ValueError(
                f"model.smallest: {self.model.smallest} is more than data.crop_size, "
                f"{self.data.crop_size}"
            )
        if self.train.gradient_checkpointing:
            raise ValueError(
                "train.gradient_checkpointing: true is not for this network; set it to false"
            )
        return self
