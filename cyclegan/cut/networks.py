"""Networks of CUT: CycleGAN's, antialiased, and the sampler of patches with its MLPs.

Modules have the numbers and names of the official `models/networks.py`. Its blur filters are
buffers; they never change, so here they are part of its files only (`official_constants`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UserError
from core.losses import full_precision
from core.nn.discriminators import PatchDiscriminator
from core.nn.factory import make_discriminator, num_residual_blocks
from core.nn.init import init_layer, init_weights
from core.nn.resnet import ResnetGenerator
from core.noise import shared
from cyclegan.cut.config import Model


def outer_filter(*taps: float, sum_to: float) -> Tensor:
    """Return the square filter of these taps in both directions, scaled to a sum, float32."""
    line = torch.tensor(taps)
    square = torch.outer(line, line)
    return square * (sum_to / square.sum())


def halved(x: Tensor, filt: Tensor) -> Tensor:
    """Filter [N, C, H, W], mirrored at the edges, by [C, 1, 3, 3] at every second pixel."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, filt, stride=2, groups=len(filt))


class _Halved(torch.autograd.Function):
    """`halved`, which keeps no image for its gradient; a convolution keeps its padded input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filt: Tensor) -> Tensor:
        ctx.save_for_backward(filt)
        ctx.odd = [size % 2 for size in x.shape[2:]]
        return halved(x, filt)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (filt,), (gradient,) = ctx.saved_tensors, gradients
        filt = filt.to(gradient.dtype)  # which autocast chose
        rest = [1 - odd for odd in ctx.odd]
        to_x = F.conv_transpose2d(gradient, filt, stride=2, output_padding=rest, groups=len(filt))
        for dim in (2, 3):  # what went to the mirrored edges belongs to the pixels beside them
            end = to_x.shape[dim] - 1
            inner = to_x.narrow(dim, 1, end - 1).clone()
            inner.select(dim, 1).add_(to_x.select(dim, 0))
            inner.select(dim, -2).add_(to_x.select(dim, end))
            to_x = inner
        return to_x, None


class BlurDown(nn.Module):
    """The filter 1 2 1 in both directions, mirrored at the edges, at every second pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def filt(self) -> Tensor:
        """Return the official buffer, [channels, 1, 3, 3] float32."""
        return outer_filter(1, 2, 1, sum_to=1).repeat(self.channels, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W], H and W at least 2, to [N, C, ceil(H / 2), ceil(W / 2)]."""
        filt = self.filt().to(x.device, x.dtype)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            y: Tensor = _Halved.apply(x, filt)
            return y
        return halved(x, filt)


class BlurUp(nn.Module):
    """Doubling by the filter 1 3 3 1 in both directions, which is bilinear interpolation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def filt(self) -> Tensor:
        """Return the official buffer, [channels, 1, 4, 4] float32."""
        return outer_filter(1, 3, 3, 1, sum_to=4).repeat(self.channels, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, 2 * H, 2 * W]."""
        return F.interpolate(x, scale_factor=2.0, mode="bilinear")


def blurred_halvings(model: nn.Sequential) -> nn.Sequential:
    """Let the convolutions of stride 2 keep the size, and blur and halve after their activation."""
    layers: list[nn.Module] = []
    channels = 0
    for layer in model:
        layers.append(layer)
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.stride, channels = (1, 1), layer.out_channels
        elif channels and isinstance(layer, nn.ReLU | nn.LeakyReLU):
            layers.append(BlurDown(channels))
            channels = 0
    return nn.Sequential(*layers)


def blurred_doublings(model: nn.Sequential) -> nn.Sequential:
    """Exchange each transposed convolution for a blurred doubling and a 3x3 convolution."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.ConvTranspose2d):
            before, after, bias = layer.in_channels, layer.out_channels, layer.bias is not None
            layers += [BlurUp(before), nn.Conv2d(before, after, 3, padding=1, bias=bias)]
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def filters(network: nn.Module) -> dict[str, Tensor]:
    """Return {official key: filter} of a network's blurs."""
    modules = network.named_modules()
    return {f"{name}.filt": m.filt() for name, m in modules if isinstance(m, BlurDown | BlurUp)}


class Generator(ResnetGenerator):
    """CycleGAN's ResNet generator, antialiased where asked for, that also gives its features.

    Args:
        antialias: on the way down.
        antialias_up: on the way up.

    Other args as there.
    """

    def __init__(self, *args: Any, antialias: bool, antialias_up: bool) -> None:
        super().__init__(*args)
        if antialias:
            self.model = blurred_halvings(self.model)
        if antialias_up:
            self.model = blurred_doublings(self.model)

    def forward(self, x: Tensor, layers: Sequence[int] = (), *, encode_only: bool = False) -> Any:
        """Translate images, or give features of layers, or both.

        As published, a feature is what its layer hands on: behind a norm the ReLU works in place,
        and the feature is the ReLU's output, unless that norm is the last of the layers.

        Args:
            x: [N, input_nc, H, W] in [-1, 1].
            layers: numbers of layers, ascending.
            encode_only: stop after the last of them.

        Returns:
            [N, output_nc, H, W] in [-1, 1]; with `layers` (that, [features [N, C, H', W'], ...]);
            the features alone if `encode_only`.
        """
        features = []
        last = layers[-1] if layers else None
        for number, layer in enumerate(self.model):
            x = self.run_layer(layer, x)
            if number in layers:
                features.append(x)
            if number == last:
                if encode_only:
                    return features
                x = x.clone()  # what follows may work in place
        return (x, features) if layers else x

    def channels(self, layers: Sequence[int]) -> list[int]:
        """Return the channels of these layers' features."""
        width, widths = 0, []
        for layer in self.model:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                width = layer.out_channels
            widths.append(width)
        first = next(layer for layer in self.model if isinstance(layer, nn.Conv2d))
        return [widths[number] or first.in_channels for number in layers]

    def official_constants(self) -> dict[str, Tensor]:
        """Return the filters."""
        return filters(self)


class AntialiasedPatchDiscriminator(PatchDiscriminator):
    """CycleGAN's PatchGAN with blurs in place of strides; args as there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.model = blurred_halvings(self.model)

    def official_constants(self) -> dict[str, Tensor]:
        """Return the filters."""
        return filters(self)


def draw_positions(number: int, num_patches: int, device: torch.device) -> Tensor:
    """Draw different positions of `number` there are, at most all: int64 [min(num_patches, n)]."""
    return shared(lambda: torch.randperm(number, device=device))[:num_patches]


def draw_mirrored() -> bool:
    """Draw with equal chances, on the CPU, so that nothing waits for a GPU."""
    return shared(lambda: torch.rand(())).item() < 0.5


class PatchSampleF(nn.Module):
    """Vectors of unit length at positions of feature maps, through an MLP for each map.

    Args:
        channels: of each map.
        nc: width of the MLPs and length of the vectors; None takes the features as they are.
    """

    def __init__(self, channels: Sequence[int], nc: int | None) -> None:
        super().__init__()
        for number, width in enumerate(channels):
            mlp: nn.Module = nn.Identity()
            if nc is not None:
                mlp = nn.Sequential(nn.Linear(width, nc), nn.ReLU(), nn.Linear(nc, nc))
            self.add_module(f"mlp_{number}", mlp)

    def forward(self, features: Sequence[Tensor], positions: Sequence[Tensor]) -> list[Tensor]:
        """Sample every map.

        Args:
            features: [N, C, H, W] each.
            positions: of each map, row * W + column; the same for every image, int64 [P].

        Returns:
            Of each map [N * P, nc], image after image, in float32 at least.
        """
        samples = []
        for mlp, feature, at in zip(self.children(), features, positions, strict=True):
            # Taken as they lie in memory, so that the gradient lies there likewise.
            if feature.is_contiguous(memory_format=torch.channels_last):
                x = feature.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, at)  # [N, P, C]
            else:
                x = feature.flatten(2).index_select(2, at).transpose(1, 2)  # [N, P, C]
            x = full_precision(mlp(x.flatten(0, 1)))  # [N * P, nc]
            samples.append(x / (x.norm(dim=1, keepdim=True) + 1e-7))
        return samples


def make_generator(options: Model, *, gradient_checkpointing: bool = False) -> Generator:
    """Make the generator with its initial weights."""
    num_blocks = num_residual_blocks(options.generator)
    G = Generator(
        *(options.input_nc, options.output_nc, options.ngf, num_blocks),
        *(options.norm, options.dropout, gradient_checkpointing),
        antialias=options.antialias,
        antialias_up=options.antialias_up,
    )
    init_weights(G, options.init, options.init_gain)
    return G


def make_dis(options: Model) -> nn.Module:
    """Make the discriminator with its initial weights."""
    if options.discriminator == "pixel" or not options.antialias:
        return make_discriminator(options, options.output_nc)
    layers = 3 if options.discriminator == "basic" else options.num_layers_dis
    D = AntialiasedPatchDiscriminator(options.output_nc, options.ndf, layers, options.norm)
    init_weights(D, options.init, options.init_gain)
    return D


def make_sampler(options: Model, G: Generator) -> PatchSampleF:
    """Make the sampler of a generator's features with its initial weights.

    Raises:
        UserError: a layer that the generator does not have.
    """
    last, end = options.nce_layers[-1], len(G.model) - 1
    if last > end:
        raise UserError(
            f"model.nce_layers: {last}, but the layers of this {options.generator} are 0 to {end}"
        )
    nc = options.netF_nc if options.netF == "mlp_sample" else None
    sampler = PatchSampleF(G.channels(options.nce_layers), nc)
    for module in sampler.modules():
        if isinstance(module, nn.Linear):
            init_layer(module, options.init, options.init_gain)
    return sampler
