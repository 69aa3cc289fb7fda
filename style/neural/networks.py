"""The networks that look at the images: VGG, its student, and multi-scale random filters.

All take images in Caffe's space (`style.neural.images`), with sides of at least `minimum` pixels,
and give features by layer name. Their parameters are frozen and they are the same function in train
and eval mode.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UserError
from core.nn.padding import reflection_pad
from core.nn.student import LAYERS, VGGStudent
from core.nn.vgg import VGG, VGGInput, load_vgg, vgg_input
from style.neural.config import VGG_INPUTS, Model, Run
from style.neural.images import MEAN_BGR


class VGGEncoder(nn.Module):
    """VGG-16 or VGG-19 behind the conversion to the input that its weights expect.

    Args:
        vgg: up to the deepest layer that is needed.
        expected: `caffe`: as the images are; `torchvision`: RGB in [0, 1], normalised.
    """

    def __init__(self, vgg: VGG, expected: VGGInput) -> None:
        super().__init__()
        self.vgg, self.expected = vgg, expected
        self.minimum = 2 ** sum(
            isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) for layer in vgg.features
        )

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return {layer: features [1, C, H, W]} of an image [1, 3, H, W] in Caffe's space."""
        if self.expected == "torchvision":
            image = vgg_input(to_unit(image), "torchvision")
        features: dict[str, Tensor] = self.vgg(image, layers)
        return features


class StudentEncoder(nn.Module):
    """The student of VGG-16 behind the conversion to its input.

    Args:
        student: up to the deepest layer that is needed.
    """

    minimum = VGGStudent.minimum

    def __init__(self, student: VGGStudent) -> None:
        super().__init__()
        self.student = student

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return {layer: features [1, C, H, W]} of an image [1, 3, H, W] in Caffe's space."""
        features: dict[str, Tensor] = self.student(to_unit(image), layers)
        return features


class RandomFilters(nn.Module):
    """Filters drawn at random at every level of an averaged pyramid: texture without a training.

    Ustyuzhaninov, Brendel, Gatys, Bethge (ICLR 2017) show that Gram matrices of one layer of random
    filters of many sizes (3 to 55 px), followed by ReLU, carry natural textures about as well as
    VGG's features. Here the sizes come from one size of filter on a pyramid of average poolings,
    which costs a fraction: layer `scale{k}` sees the image reduced by 2^(k-1).

    Deviations: most filters have zero mean and a gain, for photographs are so smooth that their
    Gram matrices would speak of colour only; the others, with random offsets, see colour. The
    pooling windows overlap, because those of 2x2 show through as blocks.

    Args:
        num_levels: up to the coarsest that is needed, at most `MOST_LEVELS`.
    """

    MOST_LEVELS = 6
    NUM_FILTERS = 64
    """Filters of a level."""
    SIZE = 7
    """Side of a filter, in pixels of its level."""
    SHARE = 0.75
    """Share of the filters that have zero mean."""
    GAIN = 4.0
    """Factor on those filters."""
    OFFSET = 10.0
    """Standard deviation of the biases, in levels of 0..255."""

    def __init__(self, num_levels: int = MOST_LEVELS) -> None:
        super().__init__()
        # Reflection needs a pixel more than it adds.
        self.minimum = (self.SIZE // 2 + 1) * 2 ** (num_levels - 1)
        # On the CPU and for all levels, so that they are the same in every case.
        generator = torch.Generator().manual_seed(0)
        shape = (self.MOST_LEVELS, self.NUM_FILTERS, 3, self.SIZE, self.SIZE)
        weights = torch.randn(shape, generator=generator)
        edges = int(self.SHARE * self.NUM_FILTERS)
        weights[:, :edges] -= weights[:, :edges].mean((3, 4), keepdim=True)
        weights /= weights.flatten(2).norm(dim=2)[:, :, None, None, None]
        weights[:, :edges] *= self.GAIN
        biases = self.OFFSET * torch.randn(shape[:2], generator=generator)
        self.levels = nn.ModuleList(
            nn.Conv2d(3, self.NUM_FILTERS, self.SIZE) for _ in range(num_levels)
        )
        for level, weight, bias in zip(self.levels, weights, biases, strict=False):
            level.load_state_dict({"weight": weight, "bias": bias})
        self.requires_grad_(False)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the layers, fine to coarse."""
        return [f"scale{level}" for level in range(1, cls.MOST_LEVELS + 1)]

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return {layer: features [1, 64, H, W]} of an image [1, 3, H, W] in Caffe's space."""
        x, features = image, {}
        for place, (name, level) in enumerate(zip(self.names(), self.levels, strict=False)):
            if place:
                x = F.avg_pool2d(reflection_pad(x, 1), 4, stride=2)
            if name in layers:
                features[name] = F.relu(level(reflection_pad(x, self.SIZE // 2)))
        return features


Encoder = VGGEncoder | StudentEncoder | RandomFilters


def to_unit(image: Tensor) -> Tensor:
    """Turn images [N, 3, H, W] in Caffe's space into RGB in [-1, 1]."""
    return (image + image.new_tensor(MEAN_BGR)[:, None, None]).flip(1) / 127.5 - 1


def layer_names(model: Model) -> list[str]:
    """Return the names of an encoder's layers, shallow to deep."""
    if model.encoder == "random_filters":
        return RandomFilters.names()
    if model.encoder == "vgg16_student":
        return [layer.name for layer in LAYERS]
    return list(VGG(VGG_INPUTS[model.encoder][0], "relu1_1").layers)


def make_encoder(model: Model, *, trained: bool = True) -> Encoder:
    """Make the encoder that the options name; untrained, VGG keeps random weights.

    Raises:
        UserError: no such layer, or no weights.
    """
    names = layer_names(model)
    wanted = (*model.content_layers, *model.style_layers)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UserError(
            f"model: {model.encoder} has no layer {unknown[0]!r}; it has {', '.join(names)}"
        )
    last = max(wanted, key=names.index, default=names[1])
    if model.encoder == "random_filters":
        return RandomFilters(names.index(last) + 1)
    if model.encoder == "vgg16_student":
        return StudentEncoder(VGGStudent.load(last))
    depth, expected = VGG_INPUTS[model.encoder]
    vgg = VGG(depth, last, pooling=model.pooling)
    if trained:
        load_vgg(vgg, model.weights, expected)
    return VGGEncoder(vgg, expected)


def arrange(encoder: Encoder, run: Run, device: torch.device) -> Run:
    """Move an encoder to its device, in place, as the options want it to run.

    Returns the options with every switch set.
    """
    run = run.on(device.type)
    from core.cpu.accelerate import accelerate  # noqa: PLC0415  (defines operators: slow)

    layout = torch.channels_last if run.channels_last else torch.contiguous_format
    encoder.to(device, memory_format=layout)  # type: ignore[call-overload]
    accelerate([encoder], winograd=bool(run.winograd), keep_memory=bool(run.keep_memory))
    return run
