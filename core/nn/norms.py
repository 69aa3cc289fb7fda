"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function

NormName = Literal["instance", "batch", "none"]


def _reduces_slowly(x: Tensor) -> bool:
    """Whether torch's variances and instance norms of `x` take forty times as long as its sums.

    They do in channels_last on a CPU. Tiled images (`core.tiling_norms`) have statistics of their
    own, and half precision wants torch's.
    """
    if has_torch_function((x,)) or x.device.type != "cpu" or x.dtype.itemsize < 4:
        return False
    return not x.is_contiguous()


class _Rest(torch.autograd.Function):
    """x - mean, whose derivative is this again; autograd's sum of two terms has no layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> Tensor:
        ctx.dims = dims
        return x - x.mean(dims, keepdim=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Rest.apply(gradients[0], ctx.dims), None


def centered(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The rest x - mean, the biased variance and the mean (detached), over `dims`, which are kept.

    Args:
        x: [N, C, H, W].
        dims: to reduce.
    """
    if not _reduces_slowly(x):
        var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
        return x - mean, var, mean.detach()
    rest: Tensor = _Rest.apply(x, dims)
    squares = rest.square().sum(dims, keepdim=True)  # not `mean`, whose gradient is written out
    return rest, squares / (x.numel() // squares.numel()), x.detach().mean(dims, keepdim=True)


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without scale, shift and running statistics, fast in every layout."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        if not _reduces_slowly(input):
            return super().forward(input)
        rest, var, _ = centered(input, (2, 3))
        return rest * (var + self.eps).rsqrt()


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that can also normalise each image by its own statistics.

    That is what the official pix2pix does at test time, by leaving its networks in train mode with
    one image per batch (`core.nn.modes.published_test_mode`). Here it holds for any batch, and
    running statistics are neither used nor changed.
    """

    per_image = False
    recomputing = False
    """The forward runs a second time for its gradients; the statistics have seen this batch."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        if self.per_image:
            return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)
        if self.recomputing and self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            # Copies, not None: torch checks that a second forward saves what the first did.
            mean, var = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(input, mean, var, self.weight, self.bias, True, 0.0, self.eps)
        return super().forward(input)


@contextmanager
def recomputing(module: nn.Module) -> Iterator[None]:
    """Within, forwards of `module` leave the running statistics of its batch norms alone."""
    norms = [m for m in module.modules() if isinstance(m, BatchNorm2d)]
    for norm in norms:
        norm.recomputing = True
    try:
        yield
    finally:
        for norm in norms:
            norm.recomputing = False


def make_norm(name: NormName) -> Callable[[int], nn.Module]:
    """A factory channels -> layer, as the official CycleGAN and pix2pix configure them.

    Instance norm has no scale, no shift and no running statistics (eps 1e-5, biased variance), so
    it is the same function in train and eval mode. Batch norm is affine with momentum 0.1.
    """
    factories: dict[NormName, Callable[[int], nn.Module]] = {
        "instance": InstanceNorm2d,
        "batch": partial(BatchNorm2d, affine=True, track_running_stats=True),
        "none": lambda _channels: nn.Identity(),
    }
    return factories[name]


def conv_bias(name: NormName) -> bool:
    """Whether a convolution in front of this norm carries a bias.

    The official code gives one for instance norm only, where it has no effect, and none for
    `none`, where it would; released checkpoints depend on it.
    """
    return name == "instance"
