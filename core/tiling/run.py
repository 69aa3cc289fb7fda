"""Run images of any size through a convolutional network, without seams, if that is needed.

`run_tiled` runs the network layer by layer: each convolution over all tiles, with the halo that it
needs, before the next one starts. Activations wait in host memory, and a norm gathers its
statistics over the whole image before it is applied, so that the result is that of the whole-image
forward up to rounding, whatever the tile. The network is not changed: its forward runs on a
`core.tiling.tensor.TiledTensor`. The device holds one tile at a time.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.errors import UserError
from core.tiling import norms, ops  # noqa: F401  (they fill the table of tiled functions)
from core.tiling.sources import Plan, Stored, sweep
from core.tiling.tensor import TiledTensor

Network = Callable[[Tensor], Tensor]

SAFETY = 1.3
"""What a forward is taken to need, over its live tensors: convolution workspaces, fragmentation."""

AUTO_TILE = 512
"""Tile side where memory does not suffice for the whole image and none is asked for."""

MEMINFO = Path("/proc/meminfo")


@torch.no_grad()
def run_tiled(
    network: Network,
    image: Tensor,
    *,
    tile: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Run a network whose activations would not fit on the device, tile by tile.

    Supported are convolutions, transposed convolutions, pooling, padding (constant, reflect,
    replicate), nearest and bilinear resizing, instance, batch and group norm, pointwise functions,
    sums and products of images, concatenation of channels, crops, and mean or variance over the
    picture (which give ordinary tensors). Dropout and batch norm must be in evaluation mode.
    Anything else is refused by name.

    Autocast around the call acts on the convolutions as usual. Host memory holds what a whole-image
    forward would hold on the device at its peak (`estimate_peak_bytes`).

    Args:
        network: its parameters are on `device`; not changed.
        image: [N, C, H, W], float, on the CPU, as the result will be.
        tile: side of the tiles in pixels of each operation's output. Time falls and device memory
            grows with it: about `tile`^2 * (inputs + outputs) of the widest convolution, for the N
            images together.
        device: where tiles are computed.
        dtype: type in which activations wait in host memory; a 16-bit type halves it.
    """
    if image.ndim != 4 or not image.is_floating_point():
        shape = f"{image.dtype} {tuple(image.shape)}"
        raise UserError(f"tiling: the image is {shape}; give a float image [N, C, H, W]")
    if tile < 1:
        raise UserError(f"tiling: a tile of side {tile} is empty; give at least 1, such as 512")
    if not dtype.is_floating_point:
        raise UserError(f"tiling: activations cannot be stored as {dtype}; give torch.float32")
    plan = Plan(tile, device, dtype)
    with _eager():
        result = network(TiledTensor(Stored(plan, image)))
    if not isinstance(result, TiledTensor):
        return result.cpu()
    source = result.source
    return sweep(plan, source.shape, source.read, dtype=image.dtype).pixels


@torch.no_grad()
def estimate_peak_bytes(network: Network, shape: Sequence[int], device: torch.device) -> int:
    """Return the bytes that the whole-image forward would hold at its peak.

    The forward of a float32 image of `shape` [N, C, H, W] on `device`, where the parameters are, is
    run on tensors without memory, and the live ones are added up after each operation: the input
    counts, the parameters do not. Workspaces inside an operation are not seen (see `SAFETY`).
    """
    with _eager(), FakeTensorMode(allow_non_fake_inputs=True), _LiveBytes() as live:
        network(torch.empty(tuple(shape), device=device))
    # Autocast would take the weights that it has cast here, without memory, for the real ones.
    torch.clear_autocast_cache()
    return live.peak


def available_bytes(device: torch.device) -> int:
    """Return the bytes that can be had on a device now.

    CUDA: what the driver has free and what PyTorch keeps without using it. CPU: the kernel's
    `MemAvailable`, or, where there is no /proc/meminfo, the free pages. Other devices are refused.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)
    if device.type != "cpu":
        raise UserError(f"device {device}: its free memory is not known; use cuda or cpu")
    meminfo = MEMINFO.read_text() if MEMINFO.exists() else ""
    if found := re.search(r"MemAvailable:\s*(\d+) kB", meminfo):
        return int(found[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fits(network: Network, shape: Sequence[int], device: torch.device) -> bool:
    """Tell whether the whole-image forward fits in the free memory of a GPU or CPU, with a margin.

    Arguments are those of `estimate_peak_bytes`.
    """
    return estimate_peak_bytes(network, shape, device) * SAFETY <= available_bytes(device)


class TileChoice:
    """Whether pictures go through networks on a device in tiles; a size is asked for once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._fits: dict[tuple[object, ...], bool] = {}

    def side(self, network: Network, images: Tensor, tile: int | None) -> int:
        """Return the side of the tiles for images [N, C, H, W], or 0 for all of them at once.

        Args:
            network: of `partial` functions, which differ from call to call, the function counts.
            images: to go through.
            tile: side asked for in pixels; 0 never tiles; None tiles where memory would not do.
        """
        side = max(images.shape[-2:])
        if tile is not None:
            return 0 if side <= tile else tile
        if side <= AUTO_TILE:
            return 0
        key = (getattr(network, "func", network), *images.shape)
        if key not in self._fits:  # it takes a forward on tensors without memory
            self._fits[key] = fits(network, images.shape, self._device)
        return 0 if self._fits[key] else AUTO_TILE


class _LiveBytes(TorchDispatchMode):
    """The most memory that tensors made within have held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        # Inputs of the operation still count, as they do while it runs: `args` holds them.
        self._live = {key: each for key, each in self._live.items() if not each[0].expired()}
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                storage = result.untyped_storage()
                ref = StorageWeakRef(storage)
                self._live[ref.cdata] = (ref, storage.nbytes())
        self.peak = max(self.peak, sum(num_bytes for _, num_bytes in self._live.values()))
        return results


def _eager() -> AbstractContextManager[object]:
    """Run compiled networks uncompiled within: a tracer must not see images without memory."""
    # Loading the compiler takes seconds; what was never loaded has compiled nothing.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
