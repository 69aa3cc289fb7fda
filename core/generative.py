"""What families share that make images of one domain out of noise, and perhaps of captions."""

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from core.errors import UserError
from core.family import Layout, SampleBatch
from core.losses import DiffAug, augmented
from core.noise import normal
from core.options import GenerativeLogOptions, Options, PositiveInt, RunConfig, SingleDataOptions
from core.text import TextOptions, Vocabulary


class GenerativeModel(Options):
    """What goes into a generator and what comes out."""

    nz: PositiveInt = 100
    """Length of the noise."""
    nc: Literal[1, 3, 4] = 3
    """Channels of the images."""
    text: TextOptions | None = None
    """If given, pictures are drawn after captions; needs `data.tags`."""
    diffaug: DiffAug = ()
    """Random changes of what discriminators see, for small data sets (`core.losses.augmented`)."""


class GenerativeConfig(RunConfig):
    """A run; `data.crop_size` is the side of the images that its networks make."""

    data: SingleDataOptions
    log: GenerativeLogOptions = GenerativeLogOptions()
    model: GenerativeModel

    @property
    def channels(self) -> tuple[int]:
        """Channels of the images."""
        return (self.model.nc,)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words of the captions; None for unconditional models."""
        text = self.model.text
        return None if text is None else Vocabulary(text.vocabulary or {})

    @property
    def text_dims(self) -> dict[str, Any]:
        """Arguments that make `core.nn.dcgan` networks conditional; none without captions."""
        text, vocabulary = self.model.text, self.vocabulary
        if text is None or vocabulary is None:
            return {}
        return {"condition_dim": vocabulary.size, "projection_dim": text.projection_dim}

    @model_validator(mode="after")
    def _options_that_have_an_effect(self) -> Self:
        if (self.model.text is None) != (self.data.tags is None):
            raise ValueError(
                "model.text and data.tags go together: captions come from a tags file, and only a "
                "model with text uses them"
            )
        if self.train.gradient_checkpointing:
            raise ValueError(
                "train.gradient_checkpointing: true, but these networks recompute nothing; set it "
                "to false"
            )
        return self


class GenerativeBase:
    """Noise, words and samples of a family whose generator is its network `G`."""

    layout: ClassVar[Layout] = "single"
    ema_networks: ClassVar[tuple[str, ...]] = ("G",)
    multiple = minimum = 1
    unit_range: bool = False
    """Whether the networks' images are in [0, 1], not in [-1, 1]."""

    config: GenerativeConfig
    networks: dict[str, nn.Module]

    @property
    def noise_dim(self) -> int:
        """Length of a noise vector."""
        return self.config.model.nz

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words it draws; None for unconditional models."""
        return self.config.vocabulary

    def random_noise(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise [num, noise_dim] from N(0, 1), float32, on the CPU."""
        return torch.randn(num, self.noise_dim, generator=generator)

    def draw_noise(self, num: int, like: Tensor) -> Tensor:
        """Draw noise [num, noise_dim] from N(0, 1), of the type and on the device of `like`."""
        return normal(like, num, self.noise_dim)

    def conditions(self, batch: SampleBatch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return right and wrong conditions ([N, size],) of a batch; empty without captions."""
        vocabulary = self.vocabulary
        if vocabulary is None:
            return (), ()
        right = vocabulary.encode(batch.captions)
        if batch.images.is_cuda:
            right = right.pin_memory()  # otherwise the copy waits for all that is queued
        right = right.to(batch.images, non_blocking=True)
        return (right,), (vocabulary.mismatched(right),)

    def real_images(self, batch: SampleBatch) -> Tensor:
        """Return a batch's images [N, C, H, W] in the range that the networks work in."""
        return (batch.images + 1) / 2 if self.unit_range else batch.images

    def augmented(self, images: Tensor) -> Tensor:
        """Return what the discriminator sees of images [N, C, H, W], real or not."""
        changes = self.config.model.diffaug
        if self.unit_range:  # changes are defined for [-1, 1]
            return (augmented(images * 2 - 1, changes) + 1) / 2 if changes else images
        return augmented(images, changes)

    def sample(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Draw images [N, C, H, W] in [-1, 1] from noise [N, noise_dim].

        `conditions` are [N, vocabulary.size]: needed where there is a vocabulary, else refused.
        """
        vocabulary = self.vocabulary
        if conditions is not None and vocabulary is None:
            raise UserError("this model was trained without captions and takes no conditions")
        if conditions is None and vocabulary is not None:
            raise UserError(
                f"this model draws what captions say and needs conditions [N, {vocabulary.size}]"
            )
        _require_rows("noise", noise, self.noise_dim)
        given = [noise]
        if conditions is not None and vocabulary is not None:
            _require_rows("conditions", conditions, vocabulary.size)
            given.append(conditions)
        images = self.networks["G"](*given)
        return images * 2 - 1 if self.unit_range else images


def _require_rows(name: str, vectors: Tensor, length: int) -> None:
    if vectors.dim() != 2 or vectors.shape[1] != length:
        raise UserError(
            f"{name} of shape {list(vectors.shape)}: this model takes [N, {length}], one row an "
            "image"
        )
