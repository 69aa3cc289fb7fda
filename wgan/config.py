"""Options of WGAN; the defaults are those of WGAN-GP on DCGAN networks.

Gulrajani et al. 2017 and its PyTorch port (caogang/wgan-gp, commit ae47a18): penalty 10, Adam 1e-4
with betas 0.5 and 0.9, five critic updates per generator update, 200,000 generator updates at a
constant rate. The weight clipping of Arjovsky et al. 2017 is `configs/wgan/clip.yaml`.
"""

from typing import Literal, Self

from pydantic import model_validator

from core.generative import GenerativeConfig, GenerativeModel
from core.nn.dcgan import DcganNorm, Widths, dis_channels, gen_channels
from core.options import (
    CountInt,
    Fraction,
    OptimOptions,
    Policy,
    PositiveFloat,
    PositiveInt,
    TrainOptions,
    Weight,
)

Architecture = Literal["dcgan", "resnet", "cifar10", "mnist", "mlp"]

_SIZES: dict[str, tuple[int, ...]] = {"resnet": (32, 64, 128), "cifar10": (32,), "mnist": (28,)}
"""Image sides that an architecture exists for; dcgan has its own rule, mlp takes any."""


class Model(GenerativeModel):
    """Networks, what keeps the critic Lipschitz, and who is updated when."""

    generator: Architecture = "dcgan"
    critic: Architecture = "dcgan"
    nz: PositiveInt = 128
    ngf: Widths = 64
    """Width of the generator: DCGAN's ngf, the residual networks' and the port's DIM."""
    ndf: Widths = 64
    norm_gen: Literal["batch", "none"] = "batch"
    """`none` is the official WGAN's `--noBN` (dcgan only)."""
    norm_critic: DcganNorm = "layer"
    """`layer` or `none` with the penalty; `batch` is the official WGAN's, with clipping."""
    constraint: Literal["penalty", "clip"] = "penalty"
    lambda_gp: Weight = 10.0
    """Weight of the gradient penalty."""
    clip: PositiveFloat = 0.01
    """Bound of every critic parameter."""
    clip_convention: Literal["official", "paper"] = "official"
    """`official` clips before each critic update and trains it to rate real images low; `paper`
    (Algorithm 1) clips after it and has real images high."""
    num_critic: PositiveInt = 5
    """Critic updates per generator update."""
    num_critic_warm_up: CountInt = 0
    """The same for the first `num_warm_up` generator updates, and for every `warm_up_every`-th
    (official WGAN: 100); 0: no warm-up."""
    num_warm_up: CountInt = 25
    warm_up_every: PositiveInt = 500
    gen_batch_factor: PositiveInt = 1
    """Fakes of a generator update, in batches (2 in the authors' CIFAR-10 ResNet)."""

    @model_validator(mode="after")
    def _networks_and_norms_that_fit(self) -> Self:
        if self.constraint == "penalty" and self.norm_critic == "batch":
            raise ValueError(
                "norm_critic: batch, but the gradient penalty is per sample and batch statistics "
                "couple samples; use layer or none, or constraint: clip"
            )
        if self.norm_gen == "none" and self.generator != "dcgan":
            raise ValueError("norm_gen: none is an option of generator: dcgan only")
        if self.critic != "dcgan" and self.norm_critic == "batch":
            raise ValueError("norm_critic: batch is an option of critic: dcgan only")
        if self.critic in ("cifar10", "mnist", "mlp") and self.norm_critic != "none":
            raise ValueError(f"critic: {self.critic} has no norms; set norm_critic: none")
        if (self.generator == "mnist") != (self.critic == "mnist"):
            raise ValueError(
                "the mnist networks work on images in [0, 1], the others in [-1, 1]; take mnist "
                "for both generator and critic, or for neither"
            )
        if self.text is not None and {self.generator, self.critic} != {"dcgan"}:
            raise ValueError("text needs generator: dcgan and critic: dcgan")
        for name, width, network in (
            ("ngf", self.ngf, self.generator),
            ("ndf", self.ndf, self.critic),
        ):
            if not isinstance(width, int) and network != "dcgan":
                raise ValueError(f"{name}: a list of widths is for dcgan only; give one number")
        return self


class Train(TrainOptions):
    """One step is one batch and one critic update: 200,000 generator updates at `num_critic` 5."""

    num_steps: PositiveInt | None = 1_000_000
    batch_size: PositiveInt = 64


class Optim(OptimOptions):
    """Of both networks, the critic's and the generator's."""

    optimizer: Literal["adam", "rmsprop"] = "adam"
    lr: PositiveFloat = 1e-4
    beta2: Fraction = 0.9
    smoothing: Fraction = 0.99
    """RMSprop: share of the old mean square that stays (torch's default, as published)."""
    policy: Policy = "constant"


class Config(GenerativeConfig):
    """A WGAN run."""

    family: Literal["wgan"] = "wgan"
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @model_validator(mode="after")
    def _size_that_the_networks_have(self) -> Self:
        size = self.data.crop_size
        if self.model.generator == "dcgan":
            gen_channels(self.model.ngf, size)
        if self.model.critic == "dcgan":
            dis_channels(self.model.ndf, size)
        for name, network in (("generator", self.model.generator), ("critic", self.model.critic)):
            sizes = _SIZES.get(network, (size,))
            if size not in sizes:
                raise ValueError(
                    f"data.crop_size: {size}, but model.{name}: {network} makes images of "
                    f"{', '.join(map(str, sizes))} px"
                )
        return self
