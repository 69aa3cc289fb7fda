"""Options of MUNIT and UNIT; the defaults are those of the official code (NVlabs, commit a82e222).

Its configuration files state every value; the defaults here are `edges2handbags_folder.yaml`. UNIT
has no file there: its weights are those of the authors' own repository (mingyuliutw/UNIT,
`unit_summer2winter_yosemite256_folder.yaml`). Names are the published ones.
"""

from typing import Literal, Self

from pydantic import model_validator

from core.losses import DiffAug
from core.nn.vgg import VGGInput
from core.options import (
    DataOptions,
    OptimOptions,
    Options,
    Policy,
    PositiveFloat,
    PositiveInt,
    Preprocess,
    RunConfig,
    TrainOptions,
    Weight,
)

Activation = Literal["relu", "lrelu", "prelu", "selu", "tanh"]
PadType = Literal["reflect", "replicate", "zero"]
DisNorm = Literal["none", "bn", "in", "ln", "sn"]
GanType = Literal["lsgan", "nsgan"]


class VAEGenOptions(Options):
    """A generator without styles."""

    dim: PositiveInt = 64
    """Channels of the first convolution; each downsampling doubles them."""
    activ: Activation = "relu"
    n_downsample: PositiveInt = 2
    """Downsamplings of the content encoder, and upsamplings of the decoder."""
    n_res: PositiveInt = 4
    """Residual blocks of the content encoder, and of the decoder."""
    pad_type: PadType = "reflect"


class AdaINGenOptions(VAEGenOptions):
    """A generator with styles."""

    mlp_dim: PositiveInt = 256
    """Width of the MLP that turns a style into AdaIN parameters."""
    style_dim: PositiveInt = 8
    """Length of a style code."""


class DisOptions(Options):
    """The multi-scale discriminator."""

    dim: PositiveInt = 64
    """Channels of the first convolution; each further one doubles them."""
    norm: DisNorm = "none"
    """Not in the first block of a scale; `sn` is spectral normalisation."""
    activ: Activation = "lrelu"
    n_layer: PositiveInt = 4
    """Stride-2 convolutions per scale."""
    gan_type: GanType = "lsgan"
    num_scales: PositiveInt = 3
    """Networks, each judging the image at half the side of the one before."""
    pad_type: PadType = "reflect"


class _Model(Options):
    """What MUNIT and UNIT share."""

    input_dim_a: PositiveInt = 3
    input_dim_b: PositiveInt = 3
    dis: DisOptions = DisOptions()
    diffaug: DiffAug = ()
    """Random changes of what discriminators see, for small data sets (`core.losses.augmented`)."""
    gan_w: Weight = 1.0
    recon_x_w: Weight = 10.0
    """Reconstruction of an image from its own codes."""
    vgg_w: Weight = 0.0
    """Domain-invariant perceptual loss; 1 for street scenes (512 px)."""
    vgg: Literal["vgg16", "vgg16_student"] = "vgg16"
    """Whose features it compares: VGG-16's at relu5_3, as published, or at relu4_2 those of its
    student that the project carries (`core.nn.student`), which needs no file."""
    vgg_weights: str | None = None
    """File of VGG-16 weights in torchvision's layout or under the published names `conv1_1`, ...;
    none: torchvision's, downloaded on first use."""
    vgg_input: VGGInput = "torchvision"
    """What those weights expect: `torchvision` RGB, normalised; `caffe` BGR bytes less their mean,
    as the published file `vgg16.weight`."""

    @model_validator(mode="after")
    def _vgg_looks_at_colours(self) -> Self:
        channels = {self.input_dim_a, self.input_dim_b}
        if self.vgg_w and not channels <= {1, 3}:
            raise ValueError(
                f"vgg_w looks at gray or RGB, not {max(channels)} channels: set it to 0"
            )
        return self


class MUNITModel(_Model):
    """Networks and loss weights of MUNIT."""

    gen: AdaINGenOptions = AdaINGenOptions()
    recon_s_w: Weight = 1.0
    """Reconstruction of the style that a translation was made with."""
    recon_c_w: Weight = 1.0
    """Reconstruction of the content that a translation was made from."""
    recon_x_cyc_w: Weight = 0.0
    """Style-augmented cycle; 0 skips its decodings. 10 for summer to winter and street scenes."""


class UNITModel(_Model):
    """Networks and loss weights of UNIT."""

    gen: VAEGenOptions = VAEGenOptions()
    recon_kl_w: Weight = 0.01
    """KL term of the latent codes of the images."""
    recon_x_cyc_w: Weight = 10.0
    """Cycle; the official trainer needs it positive, here 0 skips its decodings."""
    recon_kl_cyc_w: Weight = 0.01
    """KL term of the latent codes of the translations."""


class Data(DataOptions):
    """The published preprocessing: shorter side to `load_size`, then a random crop and flip."""

    preprocess: Preprocess = "scale_shorter_and_crop"
    load_size: PositiveInt = 256


class Train(TrainOptions):
    """The published length."""

    num_steps: PositiveInt | None = 1_000_000


class Optim(OptimOptions):
    """Adam with coupled weight decay; the rate is halved every 100,000 iterations.

    The halving comes where the official code has it under today's PyTorch: in iteration 100,000,
    counted from 1, one earlier than with the PyTorch of its time.
    """

    lr: PositiveFloat = 1e-4
    weight_decay: Weight = 1e-4
    policy: Policy = "step"
    decay_every: PositiveInt = 100_000
    decay_factor: PositiveFloat = 0.5


class _Config(RunConfig):
    """What a run of either has."""

    data: Data
    train: Train = Train()
    optim: Optim = Optim()
    model: _Model

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the model's A and B."""
        return self.model.input_dim_a, self.model.input_dim_b


class MUNITConfig(_Config):
    """A MUNIT run."""

    family: Literal["munit"] = "munit"
    model: MUNITModel = MUNITModel()


class UNITConfig(_Config):
    """A UNIT run."""

    family: Literal["unit"] = "unit"
    model: UNITModel = UNITModel()
