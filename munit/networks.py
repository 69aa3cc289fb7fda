"""Networks of MUNIT (Huang, Liu, Belongie, Kautz, ECCV 2018) and UNIT (Liu et al., NIPS 2017).

After the official `networks.py` (NVlabs/MUNIT); module names are its names, so a state dict is
interchangeable with the released files but for the unused buffers of AdaIN and the nesting of
spectral norm (`munit.official`).

Deviations from the official code, none of which changes a number: AdaIN parameters are an argument
of the decoder instead of an attribute of its layers; norms have a finite gradient where an image is
constant (the official layer norm has none, its instance norms one beyond float32).
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from munit.blocks import (
    AdaINConvBlock,
    ConvBlock,
    DoubledConvBlock,
    SpectralConv2d,
    make_activation,
)
from munit.config import Activation, AdaINGenOptions, DisOptions, PadType, VAEGenOptions


class ResBlock(nn.Module):
    """x + norm(conv(activation(norm(conv(x))))), no activation after the sum."""

    def __init__(self, channels: int, activ: Activation, pad_type: PadType) -> None:
        super().__init__()
        self.model = nn.ModuleList(
            AdaINConvBlock(channels, activ=activation, pad_type=pad_type)
            for activation in (activ, None)
        )

    def forward(self, x: Tensor, adain: Tensor | None = None) -> Tensor:
        """Map [N, C, H, W] to the same shape; `adain` is [N, 2, 2, C] or None."""
        y = x
        for layer, conv in enumerate(self.model):
            y = conv(y, None if adain is None else adain[:, layer])
        return x + y


class ResBlocks(nn.Module):
    """Residual blocks in a row; `recompute` saves their memory until the backward pass."""

    def __init__(
        self, number: int, channels: int, activ: Activation, pad_type: PadType, *, recompute: bool
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.model = nn.ModuleList(ResBlock(channels, activ, pad_type) for _ in range(number))

    def forward(self, x: Tensor, adain: Tensor | None = None) -> Tensor:
        """Map [N, C, H, W] to the same shape; `adain` is [N, number, 2, 2, C] or None."""
        for number, block in enumerate(self.model):
            own = None if adain is None else adain[:, number]
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, own, use_reentrant=False)
            else:
                x = block(x, own)
        return x


class ContentEncoder(nn.Module):
    """7x7 convolution, `n_downsample` halvings, residual blocks; instance norm throughout."""

    def __init__(self, channels: int, options: VAEGenOptions, *, recompute: bool) -> None:
        super().__init__()
        dim, activ, pad_type = options.dim, options.activ, options.pad_type
        block = partial(ConvBlock, norm="in", activ=activ, pad_type=pad_type)
        layers: list[nn.Module] = [block((channels, dim), 7, pad=3)]
        for _ in range(options.n_downsample):
            layers.append(block((dim, 2 * dim), 4, 2, 1))
            dim *= 2
        layers.append(ResBlocks(options.n_res, dim, activ, pad_type, recompute=recompute))
        self.model = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] in [-1, 1] to [N, dim * 2**n, H / 2**n, W / 2**n], unbounded."""
        return self.model(images)


class GlobalMean(nn.Module):
    """Mean over the picture; unlike adaptive pooling with a deterministic gradient on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, 1, 1]."""
        return x.mean((2, 3), keepdim=True)


class StyleEncoder(nn.Module):
    """7x7 convolution, four halvings whatever `n_downsample`, average pooling; no norm."""

    def __init__(self, channels: int, options: AdaINGenOptions) -> None:
        super().__init__()
        dim = options.dim
        block = partial(ConvBlock, activ=options.activ, pad_type=options.pad_type)
        self.model = nn.Sequential(
            block((channels, dim), 7, pad=3),
            *[block(pair, 4, 2, 1) for pair in pairwise((dim, 2 * dim, *[4 * dim] * 3))],
            GlobalMean(),
            nn.Conv2d(4 * dim, options.style_dim, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] in [-1, 1], sides of 16 at least, to unbounded styles [N, style_dim]."""
        return self.model(images).flatten(1)


class Decoder(nn.Module):
    """Residual blocks, `n_downsample` doublings, 7x7 convolution, tanh."""

    def __init__(self, channels: int, options: VAEGenOptions, *, recompute: bool) -> None:
        super().__init__()
        activ, pad_type = options.activ, options.pad_type
        dim = options.dim * 2**options.n_downsample
        blocks = ResBlocks(options.n_res, dim, activ, pad_type, recompute=recompute)
        layers: list[nn.Module] = [blocks]
        for _ in range(options.n_downsample):
            # In the published list the doubling is a layer of its own: it keeps its number.
            layers += [nn.Identity(), DoubledConvBlock((dim, dim // 2), activ, pad_type)]
            dim //= 2
        layers.append(ConvBlock((dim, channels), 7, pad=3, activ="tanh", pad_type=pad_type))
        self.model = nn.ModuleList(layers)

    def forward(self, content: Tensor, adain: Tensor | None = None) -> Tensor:
        """Map content [N, C', H', W'] to images [N, C, H, W] in [-1, 1].

        `adain`, [N, n_res, 2, 2, C'], is shift and scale per residual block and convolution; None
        is plain instance norm in the residual blocks.
        """
        x = content
        for number, layer in enumerate(self.model):
            x = layer(x, adain) if number == 0 else layer(x)
        return x


class LinearBlock(nn.Module):
    """Linear layer and activation."""

    def __init__(self, channels: tuple[int, int], activ: Activation | None) -> None:
        super().__init__()
        self.activation = make_activation(activ) if activ else nn.Identity()
        self.fc = nn.Linear(*channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels[0]] to [N, channels[1]]."""
        return self.activation(self.fc(x))


class MLP(nn.Module):
    """Style to AdaIN parameters: three linear layers, activations between them."""

    def __init__(self, options: AdaINGenOptions) -> None:
        super().__init__()
        width, activ = options.mlp_dim, options.activ
        self.shape = (options.n_res, 2, 2, options.dim * 2**options.n_downsample)
        self.model = nn.Sequential(
            LinearBlock((options.style_dim, width), activ),
            LinearBlock((width, width), activ),
            LinearBlock((width, torch.Size(self.shape).numel()), None),
        )

    def forward(self, styles: Tensor) -> Tensor:
        """Map [N, style_dim] to [N, n_res, 2 convolutions, 2, C']: shifts, then scales."""
        return self.model(styles).unflatten(1, self.shape)


class _Generator(nn.Module):
    """An auto-encoder whose parts are called one by one, and are therefore compiled one by one."""

    minimum: int
    multiple: int

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile each part, in place."""
        for part in self.children():
            part.compile(*args, **kwargs)

    def _init_weights(self) -> None:
        """Draw every convolution and linear layer from Kaiming's normal, with biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class AdaINGen(_Generator):
    """One domain's auto-encoder: an image is a content code and a style code.

    `recompute` keeps less for the backward pass (`train.gradient_checkpointing`).
    """

    def __init__(self, channels: int, options: AdaINGenOptions, *, recompute: bool = False) -> None:
        super().__init__()
        self.multiple = 2**options.n_downsample
        # The style encoder halves four times; the last time it needs two pixels.
        self.minimum = max(16, 2 * self.multiple)
        self.enc_style = StyleEncoder(channels, options)
        self.enc_content = ContentEncoder(channels, options, recompute=recompute)
        self.dec = Decoder(channels, options, recompute=recompute)
        self.mlp = MLP(options)
        self._init_weights()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] to content [N, C', H', W'] and styles [N, style_dim]."""
        return self.enc_content(images), self.enc_style(images)

    def decode(self, content: Tensor, styles: Tensor) -> Tensor:
        """Map content and styles [N, style_dim] to images [N, C, H, W] in [-1, 1]."""
        return self.dec(content, self.mlp(styles))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [N, C, H, W] from their own codes."""
        return self.decode(*self.encode(images))

    def official_constants(self) -> dict[str, Tensor]:
        """Return the buffers that the official AdaIN layers save and never use."""
        buffers: dict[str, Tensor] = {}
        for name, module in self.dec.named_modules(prefix="dec"):
            if isinstance(module, AdaINConvBlock):
                channels = module.conv.out_channels
                buffers[f"{name}.norm.running_mean"] = torch.zeros(channels)
                buffers[f"{name}.norm.running_var"] = torch.ones(channels)
        return buffers


class VAEGen(_Generator):
    """UNIT's auto-encoder: the latent code is normal about `enc(x)` with deviation 1."""

    def __init__(self, channels: int, options: VAEGenOptions, *, recompute: bool = False) -> None:
        super().__init__()
        self.multiple = 2**options.n_downsample
        self.minimum = 2 * self.multiple
        self.enc = ContentEncoder(channels, options, recompute=recompute)
        self.dec = Decoder(channels, options, recompute=recompute)
        self._init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [N, C, H, W] from the mean of their latent codes."""
        return self.dec(self.enc(images))


class MsImageDis(nn.Module):
    """Discriminators of the image at full, half, quarter ... size; outputs are raw scores."""

    def __init__(self, channels: int, options: DisOptions) -> None:
        super().__init__()
        minimum = 2**options.n_layer
        for _ in range(1, options.num_scales):
            minimum = 2 * minimum - 1
        self.minimum = minimum
        """Smallest image side: the last convolution of the smallest scale needs two pixels."""
        self.cnns = nn.ModuleList(
            self._make_net(channels, options) for _ in range(options.num_scales)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # not the spectral ones, as published
                nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def official_keys(self) -> dict[str, str]:
        """Return {our prefix: official prefix}: spectral norm wraps its convolution there."""
        modules = self.named_modules()
        return {name: f"{name}.module" for name, m in modules if isinstance(m, SpectralConv2d)}

    @staticmethod
    def _make_net(channels: int, options: DisOptions) -> nn.Sequential:
        block = partial(ConvBlock, activ=options.activ, pad_type=options.pad_type)
        widths = [options.dim * 2**n for n in range(options.n_layer)]
        return nn.Sequential(
            block((channels, options.dim), 4, 2, 1),
            *[block(pair, 4, 2, 1, norm=options.norm) for pair in pairwise(widths)],
            nn.Conv2d(widths[-1], 1, 1),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map [N, C, H, W] to scores [N, 1, H / 2**n_layer, W / 2**n_layer] of each scale."""
        scores = []
        for number, net in enumerate(self.cnns):
            if number:
                images = F.avg_pool2d(images, 3, 2, 1, count_include_pad=False)
            scores.append(net(images))
        return scores
