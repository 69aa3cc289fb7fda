"""Options of DRIT; the defaults are those of the official code (HsinYingLee, commit f19f50a).

Published numbers that stand in its code only (loss weights, the content discriminator's rate and
clipping, widths) are options here.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.losses import DiffAug
from core.options import (
    CountInt,
    DataOptions,
    OptimOptions,
    Options,
    Policy,
    PositiveFloat,
    PositiveInt,
    RunConfig,
    TrainOptions,
    Weight,
)


class Model(Options):
    """Networks and loss weights (official `src/options.py`, `src/model.py`, `src/networks.py`)."""

    input_dim_a: PositiveInt = 3
    """Channels of the model's A."""
    input_dim_b: PositiveInt = 3
    """Channels of the model's B."""
    nz: PositiveInt = 8
    """Length of an attribute."""
    concat: bool = True
    """Append the attribute to the features; false mixes it in by 1x1 convolutions, which the
    authors advise where shapes change (cats and dogs)."""
    dim: PositiveInt = 64
    """Channels after the first convolution of encoders and generator."""
    dim_dis: PositiveInt = 64
    """Channels after the first convolution of the image discriminators."""
    dis_scale: Annotated[int, Field(ge=1, le=6)] = 3
    """Scales that an image discriminator judges; 1 is another network, of six layers."""
    dis_spectral_norm: bool = False
    """Spectral normalisation in the image discriminators."""
    num_layers_content: Annotated[int, Field(ge=1, le=3)] = 3
    """7x7 layers of the content discriminator; 3 need 212 px, 2 need 100 px, 1 needs 44 px."""
    d_iter: PositiveInt = 3
    """Only every so many iterations are full; the others train the content discriminator."""
    clip_content: PositiveFloat = 5.0
    """Largest gradient norm of the content discriminator."""
    encode_all: bool = False
    """Translate every image of a batch. By the published rule the first one is translated, and the
    others only serve as further real images."""
    lambda_gan: Weight = 1.0
    """Images with encoded and with random attributes, against their discriminators."""
    lambda_content: Weight = 1.0
    """Content codes against the content discriminator."""
    lambda_self: Weight = 10.0
    """Self-reconstruction."""
    lambda_cycle: Weight = 10.0
    """Cross-cycle consistency."""
    lambda_latent: Weight = 10.0
    """Latent regression of the random attribute."""
    lambda_kl: Weight = 0.01
    """Attribute prior."""
    lambda_l2: Weight = 0.01
    """Square of the content codes."""
    lambda_ms: Weight = 1.0
    """Mode seeking, which makes it DRIT++; 0 is the DRIT of 2018 (official `--no_ms`)."""
    diffaug: DiffAug = ()
    """Random changes of what the image discriminators see, for small data sets; see
    `core.losses.augmented`."""


class Data(DataOptions):
    """Official `src/dataset.py`: resized to 256x256 (bicubic), cropped to 216, mirrored."""

    load_size: PositiveInt = 256
    crop_size: PositiveInt = 216


class Train(TrainOptions):
    """Official `n_ep` 1200 and `n_ep_decay` 600: an epoch counts content-only iterations too."""

    num_epochs: CountInt = 600
    num_epochs_decay: CountInt = 600
    batch_size: PositiveInt = 2


class Optim(OptimOptions):
    """Adam as in the official `src/model.py`.

    The official `lambda` policy, 1 - max(0, e - n_ep_decay) / (n_ep - n_ep_decay + 1) in epoch e
    from 0, is `linear_legacy` with that count: the last epoch is not quite at zero.
    """

    lr: PositiveFloat = 1e-4
    weight_decay: Weight = 1e-4
    policy: Policy = "linear_legacy"
    first_epoch: Literal[0, 1] = 0
    rate_content: PositiveFloat = 0.4
    """Learning rate of the content discriminator relative to `lr` (official: lr / 2.5)."""


class Config(RunConfig):
    """A DRIT run."""

    family: Literal["drit"] = "drit"
    data: Data
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the model's A and B."""
        return self.model.input_dim_a, self.model.input_dim_b

    @model_validator(mode="after")
    def _published_rule_needs_two_images(self) -> Self:
        if not self.model.encode_all and self.train.batch_size < 2:
            raise ValueError(
                "train.batch_size: 1 leaves no real image for disA2 and disB2, as the first of a "
                "batch is translated and only the others are shown to them; give 2 or more, or "
                "set model.encode_all: true"
            )
        return self
