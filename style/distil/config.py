"""Options of training the student of VGG-16 (`core.nn.student`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from core.nn.vgg import VGGInput
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


class Data(SingleDataOptions):
    """Any folder of photos, paintings and textures."""

    preprocess: Preprocess = "scale_shorter_and_crop"
    load_size: PositiveInt = 256
    crop_size: PositiveInt = 192
    flip: bool = True


class Model(Options):
    """The teacher, and the weights of the terms."""

    vgg_weights: str | None = None
    """File of VGG-16's weights; none: the published ones, fetched on first use."""
    vgg_input: VGGInput = "caffe"
    """What those weights expect; the student's scale is that of these features."""
    side: PositiveInt = 112
    """Pixels; side of the views that are cut from the crops."""
    num_axes_images: PositiveInt = 64
    """Images over which VGG is pruned and the principal axes of its features are taken."""
    lambda_feature: Weight = 1.0
    lambda_gram: Weight = 1.0


class Train(TrainOptions):
    """Steps are counted, not epochs."""

    num_steps: PositiveInt | None = 350
    num_steps_decay: CountInt = 290
    batch_size: PositiveInt = 8
    accumulate: Literal[1] = 1
    """What a step draws is for the whole batch."""


class Optim(OptimOptions):
    """Adam; a constant rate, then a linear decay."""

    lr: PositiveFloat = 4e-4
    beta1: float = 0.9
    policy: Policy = "linear"


class Config(RunConfig):
    """A run that trains the student."""

    folder: ClassVar[str] = "style"
    family: Literal["vgg_student"] = "vgg_student"
    data: Data
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @property
    def channels(self) -> tuple[int]:
        """Channels of the one domain."""
        return (3,)
