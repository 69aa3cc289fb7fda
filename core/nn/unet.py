"""The U-Net generator of pix2pix (Isola et al. 2017).

The official code nests one module per level in the next; here the levels stand in two lists, which
is easier to read and to compile. `official_keys` gives the released files' names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.nn.norms import NormName, conv_bias, make_norm
from core.nn.upsampling import ResizeConv2d, Upsample


def _doubling(channels: int, out: int, bias: bool, upsample: Upsample) -> nn.Module:
    if upsample == "resize":
        return ResizeConv2d(channels, out, "zeros", bias=bias)
    return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=bias)


class UnetGenerator(nn.Module):
    """`num_downs` halvings by 4x4 convolutions and as many doublings, with skips at every level.

    Level 0 is the outermost. `down[i]` is [LeakyReLU, conv, norm] (no LeakyReLU and no norm at
    level 0, no norm at the bottom); `up[i]` is [ReLU, transposed conv, norm, dropout?] (tanh in
    place of the norm at level 0).

    Args:
        ngf: channels of the outermost level; they double down to 8 * ngf.
        num_downs: 8 for `unet_256`, 7 for `unet_128`; at least 5.
        norm: `batch` (pix2pix), `instance` or `none`.
        dropout: dropout 0.5 at the end of the up path of the `num_downs - 5` middle levels.
        upsample: double by transposed convolutions, as published, or by resizing.

    Height and width must be multiples of `multiple` = 2 ** num_downs, which is also the minimum.
    """

    def __init__(
        self,
        input_nc: int = 3,
        output_nc: int = 3,
        ngf: int = 64,
        num_downs: int = 8,
        norm: NormName = "batch",
        dropout: bool = True,
        upsample: Upsample = "transposed",
    ) -> None:
        super().__init__()
        assert num_downs >= 5, "the published U-Net has at least five levels"
        self.multiple = self.minimum = 2**num_downs
        make, bias = make_norm(norm), conv_bias(norm)
        widths = [ngf * min(2**level, 8) for level in range(num_downs)]
        bottom = num_downs - 1
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            above, out = (widths[level - 1],) * 2 if level else (input_nc, output_nc)
            below = width if level == bottom else 2 * width
            down: list[nn.Module] = [nn.Conv2d(above, width, 4, stride=2, padding=1, bias=bias)]
            if level:
                # Not in place: the same tensor is the skip, and the official in-place version
                # gives the same output only because a ReLU follows the concatenation.
                down.insert(0, nn.LeakyReLU(0.2))
            if 0 < level < bottom:
                down.append(make(width))
            # The outermost transposed convolution has no norm behind it and keeps its bias.
            up: list[nn.Module] = [
                nn.ReLU(),
                _doubling(below, out, bias or level == 0, upsample),
                make(out) if level else nn.Tanh(),
            ]
            if dropout and 4 <= level < bottom:
                up.append(nn.Dropout(0.5))
            self.down.append(nn.Sequential(*down))
            self.up.append(nn.Sequential(*up))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, input_nc, H, W] in [-1, 1] to [N, output_nc, H, W] in [-1, 1]."""
        skips: list[Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        y = self.up[-1](skips.pop())
        for up in reversed(self.up[:-1]):
            y = up(torch.cat([skips.pop(), y], dim=1))
        return y

    def official_keys(self) -> dict[str, str]:
        """Return {our module: official module}, e.g. `down.1.1` -> `model.model.1.model.1`.

        An official level is our `down`, the next level (none at the bottom) and our `up`, in one
        list; with norm `none` the places of the norms stay.
        """
        keys: dict[str, str] = {}
        prefix, bottom = "model", len(self.down) - 1
        for level, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
            num_down, num_up = (len([*part.children()]) for part in (down, up))
            after = num_down if level == bottom else num_down + 1
            keys |= {f"down.{level}.{i}": f"{prefix}.model.{i}" for i in range(num_down)}
            keys |= {f"up.{level}.{i}": f"{prefix}.model.{after + i}" for i in range(num_up)}
            prefix = f"{prefix}.model.{num_down}"
        return keys
