"""Statistics over the whole picture of tiled images, and the norms that are built on them.

The table of means and variances is small and complete before the first pixel is normalised; the
normalisation itself is a pointwise recipe.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.tiling.sources import Moments, Source, mapped
from core.tiling.tensor import Handler, TiledTensor, handles, pair, refusal

Dims = int | Sequence[int] | None


def _var_mean(
    call: str, input: TiledTensor, dim: Dims, keepdim: bool, correction: float = 0
) -> tuple[Tensor, Tensor]:
    """Return variance, or its root, and mean over `dim`, which must span the picture.

    `call` is torch's name of the function: of `std` and `std_mean` the root is asked for.
    """
    given = range(4) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = tuple(each % 4 for each in given)
    if not {2, 3} <= set(dims):
        raise refusal(f"{call}(dim={dim})")
    moments = input.source.moments.pooled([each for each in (0, 1) if each in dims])
    var = (moments.var * moments.count).div(moments.count - correction)
    if call.startswith("std"):
        var = var.sqrt()
    dtype = input.source.plan.compute_dtype
    var, mean = (table[..., None, None].to(dtype) for table in (var, moments.mean))
    return (var, mean) if keepdim else (var.squeeze(dims), mean.squeeze(dims))


@handles(torch.mean, Tensor.mean)
def _mean(input: TiledTensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return _var_mean("mean", input, dim, keepdim)[1]


def _spread(call: str) -> Handler:
    def handler(
        input: TiledTensor,
        dim: Dims = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        if isinstance(dim, bool):  # the overload var(unbiased)
            unbiased, dim = dim, None
        lost = unbiased if correction is None else correction
        result = _var_mean(call, input, dim, keepdim, lost)
        return result if call.endswith("_mean") else result[0]

    return handler


for _name in ("var", "std", "var_mean", "std_mean"):
    _functions = (getattr(place, _name) for place in (torch, Tensor) if hasattr(place, _name))
    handles(*_functions)(_spread(_name))


@handles(F.adaptive_avg_pool2d)
def _adaptive_avg_pool2d(input: TiledTensor, output_size: int | Sequence[int]) -> Tensor:
    if pair(output_size) != (1, 1):
        raise refusal(f"adaptive_avg_pool2d({output_size})")
    return _mean(input, (2, 3), True)


def _normalised(
    source: Source,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Source:
    """Return (x - mean) / sqrt(var + eps) * weight + bias; `mean` and `var` are [N or 1, C]."""
    dtype = source.plan.compute_dtype
    scale = (var.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.double()
    # Subtracting before scaling keeps the digits of a small variance about a large mean; what
    # the mean loses by rounding goes into the shift.
    pivot = mean.to(dtype)
    shift = (pivot.double() - mean.double()) * scale
    if bias is not None:
        shift = shift + bias.double()
    pivot, scale, shift = (each[..., None, None].to(dtype) for each in (pivot, scale, shift))
    return mapped(lambda tile: torch.addcmul(shift, tile - pivot, scale), [source], source.shape)


@handles(F.instance_norm)
def _instance_norm(
    input: TiledTensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Source:
    if not use_input_stats:
        return _batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if running_mean is not None:
        raise refusal("instance_norm (training)", "put the network in evaluation mode with eval()")
    return _group_norm(input, input.shape[1], weight, bias, eps)


@handles(F.batch_norm)
def _batch_norm(
    input: TiledTensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Source:
    if training or running_mean is None or running_var is None:
        raise refusal("batch_norm (training)", "put the network in evaluation mode with eval()")
    return _normalised(input.source, running_mean[None], running_var[None], weight, bias, eps)


@handles(F.group_norm)
def _group_norm(
    input: TiledTensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Source:
    each = input.source.moments
    num, channels = each.mean.shape
    grouped = (num, num_groups, channels // num_groups)
    groups = Moments(each.count, each.mean.view(grouped), each.var.view(grouped)).pooled([2])
    mean, var = (table.expand(grouped).flatten(1) for table in (groups.mean, groups.var))
    return _normalised(input.source, mean, var, weight, bias, eps)
