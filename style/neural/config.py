"""Options of neural style; the defaults are those of neural-style-pt (commit 7251405).

Its README and `neural_style.py` follow Gatys, Ecker, Bethge (CVPR 2016) and J. Johnson's
neural-style in layers and weights.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from core.nn.vgg import Pooling, VGGDepth, VGGInput
from core.options import Options, PositiveFloat, PositiveInt, Speed, Weight
from core.stylizer import StylizerConfig

Layers = tuple[str, ...]
VGG_INPUTS: dict[str, tuple[VGGDepth, VGGInput]] = {
    f"vgg{depth}_{expected}": (depth, expected)
    for depth in get_args(VGGDepth)
    for expected in get_args(VGGInput)
}
"""{encoder: its depth and the input that its weights expect}, of those that are VGG."""


class Model(Options):
    """The network that looks at the images, and the layers whose features are compared."""

    encoder: Literal[
        "vgg19_caffe",
        "vgg19_torchvision",
        "vgg16_caffe",
        "vgg16_torchvision",
        "vgg16_student",
        "random_filters",
    ] = "vgg19_caffe"
    """The weights that the published numbers were tuned for; torchvision's, whose activations
    differ by orders of magnitude; the same of the shallower network; its student, which the
    project carries (`core.nn.student`); or filters drawn at random (Ustyuzhaninov et al. 2017)."""
    weights: str | None = None
    """VGG file; default: the published one, fetched on first use."""
    pooling: Pooling = "max"
    """Pooling of VGG; the pyramid of random filters is always averaged."""
    content_layers: Layers = ("relu4_2",)
    """Default: of both depths of VGG and of the student; likewise `style_layers`."""
    style_layers: Layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

    @model_validator(mode="after")
    def _options_of_vgg(self) -> Self:
        if self.encoder not in VGG_INPUTS and self.weights is not None:
            raise ValueError(
                "weights is for VGG; random_filters are drawn, not read, and vgg16_student has "
                "those of the project"
            )
        if self.encoder == "vgg16_student" and self.pooling == "average":
            raise ValueError("pooling: average is for VGG; vgg16_student has no poolings")
        if self.encoder == "random_filters" and self.pooling == "max":
            raise ValueError("the pyramid of random_filters is averaged: set pooling: average")
        return self


class Loss(Options):
    """Weights of the terms; every layer of a kind has the same."""

    content_weight: Weight = 5.0
    style_weight: Weight = 100.0
    tv_weight: Weight = 0.001
    """Total variation; a sum over the image, so it counts more in larger ones."""
    normalize_weights: bool = False
    """Divide a content layer's weight by the largest of its features' C, H, W, and a style layer's
    by C."""
    normalize_gradients: bool = False
    """Multiply the gradients of content and style by their layer's weight once more."""


class Optim(Options):
    """How the image is optimised."""

    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    lr: PositiveFloat = 1.0
    """Adam only, in levels of 0..255; L-BFGS steps have length 1 without a line search."""
    num_corrections: PositiveInt = 100
    """Pairs that L-BFGS remembers; each takes twice the image's memory."""


class Scale(Options):
    """One stage; None takes what holds for all of them."""

    size: Annotated[int, Field(ge=16)] = 512
    """Pixels; longer side of the content."""
    iterations: PositiveInt = 1000
    style_weight: Weight | None = None
    optimizer: Literal["lbfgs", "adam"] | None = None
    lr: PositiveFloat | None = None


COARSE_TO_FINE = (
    # From noise, which is a saddle, L-BFGS takes a hundred steps to get away; Adam leaves at once.
    Scale(size=128, iterations=60, optimizer="adam", lr=20.0),
    Scale(size=256, iterations=200),
    Scale(size=512, iterations=500),
)
"""Stages where none are named: large shapes are settled where a step costs a sixteenth, or a
quarter. Published: 1,000 iterations at 512 px."""


class Image(Options):
    """What the image starts from, and what is done to it at the end."""

    init: Literal["noise", "content", "image"] = "noise"
    """`noise`: 0.001 * standard normal (gray, almost); `image`: the file `init_image`."""
    init_image: str | None = None
    seed: int = 0
    style_scale: PositiveFloat = 1.0
    """Longer side of the styles relative to the content's; larger ones carry larger features."""
    style_blend_weights: tuple[PositiveFloat, ...] | None = None
    """One per style, divided by their sum; default: equal."""
    original_colors: bool = False
    """Give the result the colours of the content, and keep only its luminance."""

    @model_validator(mode="after")
    def _init_image_belongs_to_init(self) -> Self:
        if (self.init == "image") != (self.init_image is not None):
            raise ValueError("init: image and init_image: FILE go together")
        return self


class Run(Options):
    """How the encoder runs; nothing here changes what is minimised."""

    speed: Speed = "auto"
    """`auto` sets on a CPU in fp32 the three switches that are not set below; `off` none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Autocast type of the encoder."""
    channels_last: bool | None = None
    winograd: bool | None = None
    """Wide convolutions by minimal filtering, in fp32 on a CPU: see `core.cpu.accelerate`."""
    keep_memory: bool | None = None
    """On a CPU, keep freed memory for the next tensor: see `core.cpu.memory`."""
    compile: bool = False
    """torch.compile of encoder and terms, once for each stage; needs a C++ compiler on CPUs."""

    def on(self, device: str) -> Self:
        """Return the options for a type of device, every switch set."""
        pays = self.speed == "auto" and device == "cpu" and not self.compile
        choices = {
            "channels_last": pays,
            "winograd": pays and self.precision == "fp32",
            "keep_memory": pays,
        }
        unset = {name: value for name, value in choices.items() if getattr(self, name) is None}
        return self.model_copy(update=unset)

    def __str__(self) -> str:
        """Say what runs, in a line."""
        names = ("channels_last", "winograd", "keep_memory", "compile")
        taken = [self.precision, *(name for name in names if getattr(self, name))]
        return f"speed: {self.speed}, {', '.join(taken)}"


class Config(StylizerConfig):
    """Neural style."""

    family: Literal["neural_style"] = "neural_style"
    model: Model = Model()
    loss: Loss = Loss()
    optim: Optim = Optim()
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = COARSE_TO_FINE
    """Stages, small to large; each starts from the result of the one before. Of the default ones
    those are left out that are too small for the encoder."""
    image: Image = Image()
    run: Run = Run()

    def at(self, scale: Scale) -> Self:
        """Return the options of one stage: its own in place of the common ones."""
        changed: dict[str, Options] = {}
        if scale.style_weight is not None:
            changed["loss"] = self.loss.model_copy(update={"style_weight": scale.style_weight})
        own = {"optimizer": scale.optimizer, "lr": scale.lr}
        own = {name: value for name, value in own.items() if value is not None}
        if own:
            changed["optim"] = self.optim.model_copy(update=own)
        return self.model_copy(update=changed)
