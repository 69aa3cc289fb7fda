"""torch.distributed under torchrun; one process is the special case of every function here."""

import io
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from core.errors import UserError
from core.runtime import together

TIMEOUT = timedelta(hours=6)
"""Of one message between processes: data may have to be cached, or a graph compiled, by one of them
first. For work of rank 0 alone see `core.runtime.waiting`."""
KINDS = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices."""


@dataclass(frozen=True)
class World:
    """This process's place: its rank, the number of processes, its device."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Rank 0 writes files and logs."""
        return self.rank == 0


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device of that name; `auto` is an accelerator where there is one.

    Raises:
        UserError: no such kind of device, or none on this machine.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        name = found.type if found is not None and found.type in KINDS else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in KINDS:
        raise UserError(f"--device {name}: unknown; take auto, {', '.join(KINDS)}, or cuda:N")
    if device.type != "cpu" and (found is None or found.type != device.type):
        raise UserError(f"--device {name}: no usable {device.type} device; use --device cpu")
    return device


def place(device: str = "auto") -> World:
    """Read this process's place from torchrun's environment, without a word to the others.

    `device` is as in `pick_device`; of several GPUs each process of a machine takes its own.
    """
    on = pick_device(device)
    if on.type == "cuda":
        if on.index is None:
            on = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if on.index >= torch.cuda.device_count():
            raise UserError(
                f"--device {on}: this machine has {torch.cuda.device_count()} CUDA device(s)"
            )
        torch.cuda.set_device(on)
    return World(*together.place(), on)


def start(device: str = "auto") -> World:
    """Find this process's `place`, and join the process group (nccl on GPUs, gloo on CPUs)."""
    world = place(device)
    if world.size == 1:
        return world
    if not dist.is_initialized():
        on_gpu = world.device.type == "cuda"
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            timeout=TIMEOUT,
            # The connection is made now, and by this GPU, not by whichever a barrier guesses.
            device_id=world.device if on_gpu else None,
        )
    return World(dist.get_rank(), dist.get_world_size(), world.device)


def leave(code: int) -> None:
    """End this process with an exit code, if it is one of several; otherwise do nothing.

    Without the interpreter's usual end, as a precaution: one of two gloo processes was once seen
    to abort, and gloo's threads closing connections to a process that has gone are the suspect.
    """
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def rank() -> int:
    """Rank of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """Return the number of processes of this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for every process."""
    if dist.is_initialized():
        dist.barrier()


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one message per type."""
    if not dist.is_initialized():
        return
    for dtype in {tensor.dtype for tensor in tensors}:
        group = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view_as(tensor))


@torch.no_grad()
def average_buffers(networks: Iterable[nn.Module]) -> None:
    """Average the floating-point buffers (batch norm statistics), so that processes agree."""
    if not dist.is_initialized():
        return
    buffers = [b for net in networks for b in net.buffers() if b.is_floating_point()]
    if buffers:
        average(buffers)


@torch.no_grad()
def broadcast_networks(networks: Iterable[nn.Module]) -> None:
    """Give every process the weights and buffers of rank 0."""
    if dist.is_initialized():
        for network in networks:
            for tensor in (*network.parameters(), *network.buffers()):
                dist.broadcast(tensor, 0)
                increment_version(tensor)  # which collectives forget


def maximum(tensor: Tensor) -> None:
    """Replace a tensor by its largest value over the processes; nothing waits for a GPU."""
    if dist.is_initialized():
        dist.all_reduce(tensor, dist.ReduceOp.MAX)


def from_main(number: float, device: torch.device) -> float:
    """Return the number that rank 0 has."""
    if not dist.is_initialized():
        return number
    tensor = torch.tensor(number, dtype=torch.float64, device=device)
    dist.broadcast(tensor, 0)
    return float(tensor)


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over the processes."""
    if dist.is_initialized():
        dist.all_reduce(tensor)


def gather_states(state: dict[str, Any], world: World) -> list[dict[str, Any]]:
    """Return every process's state (tensors and plain containers), in rank order; [] off rank 0.

    The states travel as bytes of `torch.save` and are read with `weights_only=True`: no pickle is
    executed between processes either.
    """
    if not dist.is_initialized():
        return [state]
    stream = io.BytesIO()
    torch.save(state, stream)
    data = torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8).to(world.device)
    sizes = [torch.zeros(1, dtype=torch.long, device=world.device) for _ in range(world.size)]
    dist.all_gather(sizes, torch.tensor([len(data)], device=world.device))
    longest = int(max(size.item() for size in sizes))
    padded = torch.zeros(longest, dtype=torch.uint8, device=world.device)
    padded[: len(data)] = data
    parts = [torch.empty_like(padded) for _ in range(world.size)]
    dist.all_gather(parts, padded)
    if not world.is_main:
        return []
    return [
        torch.load(io.BytesIO(bytes(part[: int(size)].cpu().numpy())), weights_only=True)
        for part, size in zip(parts, sizes, strict=True)
    ]
