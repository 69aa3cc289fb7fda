"""Run torch's image operations tile by tile, behind the tensor that a network's forward sees.

`TiledTensor` looks like an image on the compute device but holds no memory there. Every torch
function that is called on it is looked up in a table of tiled versions. Convolutions and pooling
walk over output tiles, read the input they need with its halo and store the result in host memory;
everything pointwise, padding, resizing and concatenation stay recipes (`core.tiling.sources`) until
the next convolution reads them. A function without a tiled version is refused by name.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UserError
from core.tiling.sources import Source, Stored, mapped, sweep

Pair = tuple[int, int]
Handler = Callable[..., Any]

HANDLERS: dict[Any, Handler] = {}
"""Torch function -> its tiled version, with the same arguments."""
IN_PLACE: dict[Any, Any] = {}
"""In-place torch function -> the one that returns a new tensor."""

_METHODS = (
    "size dim ndimension numel nelement __len__ is_floating_point is_complex is_contiguous"
    " get_device"
)
_PROPERTIES = "shape dtype device ndim layout is_cuda requires_grad"
METADATA = {
    torch.is_floating_point,
    *(getattr(Tensor, name) for name in _METHODS.split()),
    *(getattr(Tensor, name).__get__ for name in _PROPERTIES.split()),
}
"""What the handle itself can answer."""


class TiledTensor(Tensor):
    """An image [N, C, H, W] that is not in device memory.

    Shape, dtype (the storage type) and device (the compute device) are those of an ordinary
    tensor. In-place functions replace the recipe behind the handle: whoever holds the handle sees
    the change, whoever derived something earlier does not. Writing into a crop is refused, because
    the whole image would not see it.
    """

    source: Source
    is_crop: bool

    @staticmethod
    def __new__(cls, source: Source, *, is_crop: bool = False) -> Self:
        """Make a handle on `source` without memory of its own."""
        plan = source.plan
        self: Self = torch.Tensor._make_wrapper_subclass(
            cls, source.shape, dtype=plan.dtype, device=plan.device
        )
        self.source = source
        self.is_crop = is_crop
        return self

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"TiledTensor({tuple(self.source.shape)})"

    @classmethod
    def __torch_function__(
        cls,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the tiled version of `func`."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        in_place = func in IN_PLACE or kwargs.pop("inplace", False)
        handler = HANDLERS.get(IN_PLACE.get(func, func))
        with torch._C.DisableTorchFunctionSubclass():
            if func in METADATA:
                return func(*args, **kwargs)
            if handler is None:
                raise refusal(name)
            try:
                inspect.signature(handler).bind(*args, **kwargs)
            except TypeError as error:
                raise refusal(f"{name}({', '.join(kwargs)})") from error
            result = handler(*args, **kwargs)
        if not isinstance(result, Source):
            return result
        if in_place:
            if not isinstance(args[0], TiledTensor) or args[0].is_crop:
                raise refusal(f"{name} (into a crop or an ordinary tensor)")
            args[0].source = result
            return args[0]
        return cls(result)

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        """Refuse what reached the kernels without passing through a tiled version."""
        raise refusal(func.__name__)


def refusal(call: str, way_out: str = "use the whole image, or a smaller one") -> UserError:
    """Return what to raise where `call` on a tiled image cannot be honoured."""
    return UserError(
        f"tiling is not possible for this network: it calls `{call}`, which cannot be computed tile"
        f" by tile; {way_out}"
    )


def handles(*functions: Any) -> Callable[[Handler], Handler]:
    """Register the decorated function as the tiled version of torch's, with their arguments.

    What it returns is passed on; a `Source` becomes a `TiledTensor`.
    """

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(functions, handler))
        return handler

    return register


def pair(value: Any) -> tuple[Any, Any]:
    """Return (rows, columns) of one of torch's per-axis arguments."""
    return (value[0], value[-1]) if isinstance(value, Sequence) else (value, value)


def result_shape(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> torch.Size:
    """Return the result's shape; raises what torch does where the arguments do not fit."""

    def ghost(value: Any) -> Any:
        return torch.empty(value.shape, device="meta") if isinstance(value, Tensor) else value

    return func(*map(ghost, args), **kwargs).shape


# ---------------------------------------------------------------- identities


@handles(Tensor.contiguous, Tensor.detach)
def _same(input: TiledTensor, *args: Any, **kwargs: Any) -> TiledTensor:
    return input


@handles(Tensor.clone, torch.clone)
def _clone(input: TiledTensor, **kwargs: Any) -> Source:
    return input.source


@handles(Tensor.to)
def _to(input: TiledTensor, *args: Any, **kwargs: Any) -> TiledTensor | Source:
    """Keep place and precision, which are the plan's; refuse types that are not float."""
    dtypes = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
    if any(not dtype.is_floating_point for dtype in dtypes):
        raise refusal(f"to({dtypes[0]})")
    return input if input.dtype in dtypes or not dtypes else input.source


@handles(Tensor.float)
def _float(input: TiledTensor, **kwargs: Any) -> TiledTensor | Source:
    return _to(input, torch.float32)


@handles(F.dropout, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout)
def _dropout(input: TiledTensor, p: float = 0.5, training: bool = True) -> TiledTensor:
    if training and p > 0:
        raise refusal("dropout", "put the network in evaluation mode with eval()")
    return input


# ---------------------------------------------------------------- pointwise

_POINTWISE = (
    "abs add celu clamp clamp_max clamp_min div elu exp gelu hardsigmoid hardswish hardtanh"
    " leaky_relu log logsigmoid maximum minimum mish mul neg pow relu relu6 rsqrt selu sigmoid"
    " silu softplus sqrt square sub tanh true_divide __pow__ __rdiv__ __rsub__"
)


def _operand(value: Any, like: Source) -> Any:
    """Return an operand as a source, or as a constant for every pixel."""
    if isinstance(value, TiledTensor):
        if value.source.shape[-2:] != like.shape[-2:]:
            raise refusal(f"broadcasting {tuple(value.shape)} to {tuple(like.shape)}")
        return value.source
    if not isinstance(value, Tensor):
        return value
    if value.numel() == 1 or value.shape[-2:] == (1, 1):
        return value.to(like.plan.device)
    # Expanding costs no memory: a map of constants stays its own few bytes.
    return Stored(like.plan, value.expand(torch.broadcast_shapes(value.shape, like.shape[-2:])))


def _pointwise(func: Callable[..., Tensor]) -> Handler:
    def handler(*args: Any, **kwargs: Any) -> Source:
        if "other" in kwargs:
            args = (*args, kwargs.pop("other"))
        like = next(value.source for value in args if isinstance(value, TiledTensor))
        operands = [_operand(value, like) for value in args]
        inputs = [operand for operand in operands if isinstance(operand, Source)]

        def function(*tiles: Tensor) -> Tensor:
            left = iter(tiles)
            filled = (next(left) if isinstance(each, Source) else each for each in operands)
            return func(*filled, **kwargs)

        result = mapped(function, inputs, result_shape(func, *args, **kwargs))
        # A sum of images is worked out at once: the recipe of a chain of residual blocks would
        # otherwise hold, and read for every tile, the output of each block before it.
        return result if len(inputs) == 1 else sweep(like.plan, result.shape, result.read)

    return handler


def _register_pointwise() -> None:
    for name in _POINTWISE.split():
        for namespace in (torch, F, Tensor):
            func = getattr(namespace, name, None)
            if func is None:
                continue
            HANDLERS[func] = _pointwise(func)
            in_place = getattr(namespace, f"{name}_", None)
            if in_place is not None:
                IN_PLACE[in_place] = func


_register_pointwise()


@handles(torch.prelu, Tensor.prelu)
def _prelu(input: TiledTensor, weight: Tensor) -> Source:
    return mapped(lambda tile: torch.prelu(tile, weight), [input.source], input.shape)
