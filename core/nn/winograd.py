"""3x3 convolutions by Winograd's minimal filtering, for frozen weights on a CPU.

F(4x4, 3x3) of Lavin and Gray (CVPR 2016): tiles of 6x6 inputs become 36 matrix products with the
transformed filters, 2.25 multiplications an output instead of 9. cuDNN does this by itself; CPU
libraries do not. The transforms only pay when compiled into one loop each, so this is for
torch.compile. Same function to float32 rounding (about 1e-5 of the largest output).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)


def _filters(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] to [36, I, O], computed in float64."""
    g = torch.tensor(_G, dtype=torch.float64, device=weight.device)
    transformed = torch.einsum("ap,bq,oipq->abio", g, g, weight.double())
    return transformed.flatten(0, 1).to(weight.dtype).contiguous()


def _into(a: list[Tensor]) -> list[Tensor]:
    """B^T of the paper's F(4, 3), six to six."""
    p, q = a[4] - 4 * a[2], a[3] - 4 * a[1]
    r, s = a[4] - a[2], 2 * (a[3] - a[1])
    return [4 * a[0] - 5 * a[2] + a[4], p + q, p - q, r + s, r - s, 4 * a[1] - 5 * a[3] + a[5]]


def _out_of(a: list[Tensor]) -> list[Tensor]:
    """A^T of the paper's F(4, 3), six to four."""
    p, q, r, s = a[1] + a[2], a[1] - a[2], a[3] + a[4], a[3] - a[4]
    return [a[0] + p + r, q + 2 * s, p + 4 * r, q + 8 * s + a[5]]


def _convolve(x: Tensor, filters: Tensor) -> Tensor:
    """[N, I, H, W] with [36, I, O] to [N, O, H, W], zero padding 1, without bias."""
    n, channels, height, width = x.shape
    rows, columns = -(-height // 4), -(-width // 4)
    # Channels last throughout: the matrix products want them side by side.
    padded = F.pad(
        x.permute(0, 2, 3, 1), (0, 0, 1, 4 * columns - width + 1, 1, 4 * rows - height + 1)
    )
    tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4)  # [N, rows, columns, I, 6, 6]
    down = [_into([tiles[..., i, j] for j in range(6)]) for i in range(6)]
    across = [_into([down[i][j] for i in range(6)]) for j in range(6)]
    spectrum = torch.stack([across[j][i] for i in range(6) for j in range(6)])
    products = torch.bmm(spectrum.view(36, n * rows * columns, channels), filters)
    grid = products.view(6, 6, n, rows, columns, -1)
    down = [_out_of([grid[i, j] for j in range(6)]) for i in range(6)]
    across = [_out_of([down[i][j] for i in range(6)]) for j in range(4)]
    lines = [torch.stack([across[j][i] for j in range(4)], dim=3) for i in range(4)]
    y = torch.stack(lines, dim=2).view(n, 4 * rows, 4 * columns, -1)
    return y[:, :height, :width].permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """Its gradient is the convolution with the filters turned and transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, turned: Tensor) -> Tensor:
        ctx.save_for_backward(turned)
        return _convolve(x, filters)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (turned,) = ctx.saved_tensors
        return _convolve(gradients[0], turned), None, None


class WinogradConv2d(nn.Module):
    """Takes the place of a frozen `nn.Conv2d` of size 3, stride 1, zero padding 1.

    Args:
        convolution: its weights are transformed once; later changes to them go unnoticed.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self.register_buffer("filters", _filters(weight))
        self.register_buffer("turned", _filters(weight.flip(2, 3).transpose(0, 1)))
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H, W]."""
        y: Tensor = _Convolution.apply(x, self.get_buffer("filters"), self.get_buffer("turned"))
        return y if self.bias is None else y + self.bias[:, None, None]


def with_winograd(layers: nn.Sequential, min_channels: int = 128) -> nn.Sequential:
    """The same layers, sharing what is not replaced; narrow convolutions stay, they would slow."""

    def replaced(layer: nn.Module) -> nn.Module:
        fits = (
            isinstance(layer, nn.Conv2d)
            and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            and layer.groups == layer.dilation[0] == layer.dilation[1] == 1
            and min(layer.in_channels, layer.out_channels) >= min_channels
        )
        return WinogradConv2d(layer) if fits else layer  # type: ignore[arg-type]

    return nn.Sequential(*(replaced(layer) for layer in layers))
