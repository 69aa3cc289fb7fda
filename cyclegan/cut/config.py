"""Options of CUT and FastCUT; the defaults are CUT's in the official code (taesungp, b3ac297).

FastCUT is `nce_idt: false`, `lambda_NCE: 10`, `flip_equivariance: true` and 150 + 50 epochs, as in
`configs/cut/horse2zebra_fast.yaml` (official `CUT_mode`, which changes nothing else).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.nn.factory import GeneratorName, NetworkOptions, num_residual_blocks
from core.nn.init import InitName
from core.nn.norms import NormName
from core.options import (
    CountInt,
    OptimOptions,
    Policy,
    PositiveFloat,
    PositiveInt,
    RunConfig,
    TrainOptions,
    Weight,
)


class Model(NetworkOptions):
    """Networks and loss weights (official `models/cut_model.py`, `options/*.py`)."""

    generator: GeneratorName = "resnet_9blocks"
    norm: NormName = "instance"
    dropout: bool = False
    init: InitName = "xavier"
    antialias: bool = True
    """Halve by a blur behind a convolution (Zhang 2019), in generator and PatchGAN, instead of by
    the convolution's stride."""
    antialias_up: bool = True
    """Double by interpolation in front of a convolution, instead of a transposed convolution."""
    lambda_GAN: Weight = 1.0
    lambda_NCE: PositiveFloat = 1.0
    nce_idt: bool = True
    """Also hold G(B) to B by the contrastive loss, and take the mean of both."""
    nce_layers: Annotated[tuple[CountInt, ...], Field(min_length=1)] = (0, 4, 8, 12, 16)
    """Layers of the generator whose features are compared, ascending; padding, norms, activations
    and blurs count, and 0 is the padded image itself."""
    nce_T: PositiveFloat = 0.07
    """Temperature tau of the softmax over positive and negatives."""
    num_patches: PositiveInt = 256
    """Positions of a layer; all there are, if those are fewer."""
    nce_includes_all_negatives_from_minibatch: bool = False
    """Take negatives from all images of the batch instead of the image itself."""
    netF: Literal["mlp_sample", "sample"] = "mlp_sample"
    """Project sampled features by an MLP of each layer, or compare them as they are."""
    netF_nc: PositiveInt = 256
    """Width of these MLPs, and length of what they give."""
    flip_equivariance: bool = False
    """Mirror the generator's input in every other step, and the features of the output back."""

    @model_validator(mode="after")
    def _one_encoder_sees_both_domains(self) -> Self:
        if self.input_nc != self.output_nc:
            raise ValueError(
                f"input_nc {self.input_nc} and output_nc {self.output_nc} differ, but one encoder "
                "compares the translation with its source; give both as many channels"
            )
        return self

    @model_validator(mode="after")
    def _generator_begins_with_an_encoder(self) -> Self:
        if num_residual_blocks(self.generator) is None:
            raise ValueError(
                f"generator {self.generator} has skips past its features; give resnet_<N>blocks"
            )
        return self

    @model_validator(mode="after")
    def _doubling_is_said_once(self) -> Self:
        if self.upsample != "transposed":
            raise ValueError(
                f"upsample: {self.upsample} is of CycleGAN and pix2pix; antialias_up says here how "
                "the generator doubles sizes"
            )
        return self

    @model_validator(mode="after")
    def _layers_ascend(self) -> Self:
        if any(after <= before for before, after in pairwise(self.nce_layers)):
            raise ValueError(f"nce_layers must ascend, not {[*self.nce_layers]}")
        return self


class Train(TrainOptions):
    """The published length."""

    num_epochs: CountInt = 200
    num_epochs_decay: CountInt = 200


class Optim(OptimOptions):
    """The official schedule is advanced at the end of an epoch: CycleGAN's of before 2020-07-19."""

    policy: Policy = "linear_legacy"


class Config(RunConfig):
    """A CUT run."""

    family: Literal["cut"] = "cut"
    train: Train = Train()
    optim: Optim = Optim()
    model: Model = Model()

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the model's A and B."""
        return self.model.input_nc, self.model.output_nc
