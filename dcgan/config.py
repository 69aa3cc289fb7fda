"""Options of DCGAN; the defaults are those of pytorch/examples `dcgan/main.py`, commit 77f55b9."""

from typing import Literal, Self

from pydantic import model_validator

from core.generative import GenerativeConfig, GenerativeModel
from core.nn.dcgan import Output, Widths, dis_channels, gen_channels
from core.options import CountInt, OptimOptions, Policy, PositiveInt, TrainOptions, Weight
from dcgan.losses import Objective


class Model(GenerativeModel):
    """Networks, objective and training tips."""

    nc: Literal[1, 3] = 3
    ngf: Widths = 64
    """Channels of the generator's last hidden layer, from which they double towards 4x4; or, at 64
    px, a list like 512-256-128 of the strided layers but the last (4x4 has twice the first)."""
    ndf: Widths = 64
    """Channels of the discriminator's first layer, from which they double towards 4x4; or, at 64
    px, a list like 128-256-512-1024 of the strided layers."""
    objective: Objective = "vanilla"
    """`vanilla`: binary cross-entropy, non-saturating; `lsgan`: least squares (Mao et al. 2017)."""
    output: Output = "tanh"
    """tanh: the networks see images in [-1, 1] (ganhacks tip 1); sigmoid: in [0, 1]."""
    slope_gen: Weight = 0.0
    """Of the generator's LeakyReLU; 0 is ReLU, as published (ganhacks tip 5: 0.2)."""
    slope_dis: Weight = 0.2
    """Of the discriminator's LeakyReLU; 0 is ReLU."""
    real_label: tuple[float, float] = (1.0, 1.0)
    """What the discriminator should say of real images: drawn for each image, evenly between the
    two (ganhacks tip 6, soft and noisy: 0.7 to 1.0). LSGAN's b."""
    fake_label: tuple[float, float] = (0.0, 0.0)
    """Likewise of fakes (soft and noisy: 0.0 to 0.3). LSGAN's a."""
    gen_label: float = 1.0
    """What the generator wants to hear. LSGAN's c."""

    @model_validator(mode="after")
    def _labels_are_ranges(self) -> Self:
        for name, (low, high) in (("real_label", self.real_label), ("fake_label", self.fake_label)):
            if low > high:
                raise ValueError(f"{name}: give the smaller bound first, not [{low}, {high}]")
        labels = (*self.real_label, *self.fake_label, self.gen_label)
        if self.objective == "vanilla" and not all(0 <= label <= 1 for label in labels):
            raise ValueError(
                "labels outside [0, 1] are no probabilities; only objective: lsgan takes them"
            )
        return self


class Train(TrainOptions):
    """25 epochs of batches of 64, at one rate."""

    num_epochs: CountInt = 25
    num_epochs_decay: CountInt = 0
    batch_size: PositiveInt = 64


class Optim(OptimOptions):
    """Adam at a constant rate."""

    policy: Policy = "constant"


class Config(GenerativeConfig):
    """A DCGAN run; `data.crop_size` is the size of its images: 32, 64, 128 px, ..."""

    family: Literal["dcgan"] = "dcgan"
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @model_validator(mode="after")
    def _networks_fit_the_images(self) -> Self:
        gen_channels(self.model.ngf, self.data.crop_size)
        dis_channels(self.model.ndf, self.data.crop_size)
        return self
