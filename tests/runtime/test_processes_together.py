"""Several processes: gradients in messages, waiting for rank 0, and who synchronises batch norm."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from core.errors import UserError
from core.nn.modes import evaluating, published_test_mode
from core.nn.norms import BatchNorm2d, SyncBatchNorm, synchronise
from core.runtime import buckets, distributed, waiting
from core.training.step import Stepper
from core.training.update import Updater
from tests.processes import SERVER
from tests.small import family


def serve(rank: int, folder: Path, work: Any) -> None:
    """Be one of two gloo processes; a failure is its exit code."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    work(rank)
    dist.barrier()
    os._exit(0)


def in_two_processes(folder: Path, work: Any) -> None:
    ranks = [SERVER.Process(target=serve, args=(rank, folder, work)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]


def network() -> nn.Sequential:
    """Three convolutions in channels_last."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 1))
    return net.to(memory_format=torch.channels_last)


def record_messages(order: list[str]) -> None:
    """Note in a list each message that is sent; three layers make three messages."""
    buckets.BYTES = 50
    send = buckets._Mail._send

    def record(mail: Any, tensors: list[torch.Tensor]) -> None:
        order.append("message")
        send(mail, tensors)

    buckets._Mail._send = record  # type: ignore[method-assign]


def compare_gradients(rank: int) -> None:
    """With those of one message after the backward pass: the same, to the bit."""
    order: list[str] = []
    record_messages(order)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(rank))
    net, own = network(), network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    Updater()(optimizer, net[:3](images).square().mean())
    assert len(order) == 4  # and the one that says whether the loss was finite
    own[:3](images).square().mean().backward()
    given = [torch.zeros_like(p) if p.grad is None else p.grad for p in own.parameters()]
    flat = torch.cat([gradient.reshape(-1) for gradient in given])
    dist.all_reduce(flat)
    flat /= 2
    parts = flat.split([gradient.numel() for gradient in given])
    for parameter, part in zip(net.parameters(), parts, strict=True):
        gradient = parameter.grad
        assert gradient is not None and torch.equal(gradient, part.view_as(gradient))
        assert gradient.stride() == parameter.stride()


def send_early(rank: int) -> None:
    """The last layers' gradients are on their way before those of the first are made."""
    order: list[str] = []
    record_messages(order)
    net = network()
    net[0].register_full_backward_pre_hook(lambda *_: order.append("first layer"))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    Updater()(optimizer, net(torch.rand(2, 3, 8, 8)).square().mean())
    assert order == ["message", "message", "first layer", "message", "message"]


def wait_for_main(rank: int) -> None:
    """Work that takes longer than a silence is allowed; failed work is said at once."""
    waiting.BEAT_SECONDS, waiting.SILENCE_SECONDS = 0.05, 0.6
    done: list[int] = []
    waiting.on_main(lambda: (time.sleep(1.5), done.append(rank))[1])
    assert done == [0] * (rank == 0)

    def fail() -> None:
        raise UserError("a damaged image")

    with pytest.raises(UserError, match="a damaged image" if rank == 0 else "process 0 has failed"):
        waiting.on_main(fail)
    if rank == 0:  # a machine that hangs
        time.sleep(1.5)
    else:
        with pytest.raises(UserError, match="no sign of life"):
            waiting.on_main(lambda: None)


@pytest.mark.parametrize("work", [compare_gradients, send_early, wait_for_main])
def test_two_processes(work: Any, tmp_path: Path) -> None:
    in_two_processes(tmp_path, work)


def test_the_group_is_made_for_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda kind, **more: asked.update(more))
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    distributed.start("cpu")
    assert asked["timeout"] >= timedelta(hours=1) and asked["device_id"] is None
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(distributed, "pick_device", lambda name: gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    distributed.start("cuda")
    assert asked["device_id"] == gpu


@pytest.mark.parametrize(("kind", "number", "expected"), [
    ("cuda", 2, True), ("cuda", 1, False), ("cpu", 2, False),
])  # fmt: skip
def test_batch_norm_is_synchronised_on_several_gpus(
    kind: str, number: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = family("pix2pix", {"norm": "batch"})
    norms = [m for net in built.networks.values() for m in net.modules() if type(m) is BatchNorm2d]
    owned = {id(p) for net in built.networks.values() for p in net.parameters()}
    keys = {name: list(net.state_dict()) for name, net in built.networks.items()}
    monkeypatch.setattr(distributed, "num_processes", lambda: number)
    for name in ("to", "cuda"):
        monkeypatch.setattr(nn.Module, name, lambda self, *args, **more: self)
    monkeypatch.setattr("core.training.step.Updater", lambda *args: None)
    Stepper(built, built.config.train, torch.device(kind))
    after = [m for net in built.networks.values() for m in net.modules()]
    assert norms and sum(isinstance(m, SyncBatchNorm) for m in after) == expected * len(norms)
    assert owned == {id(p) for net in built.networks.values() for p in net.parameters()}
    assert keys == {name: list(net.state_dict()) for name, net in built.networks.items()}


def test_a_synchronised_norm_is_batch_norm_elsewhere() -> None:
    """In tests and previews, where one process is alone with its images."""
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4))
    plain(torch.rand(4, 3, 8, 8))
    images = torch.rand(2, 3, 8, 8)
    results = []
    for _ in range(2):
        with evaluating(plain):
            results.append(plain(images))
            with published_test_mode(plain):
                results.append(plain(images))
        synchronise(plain)
    assert isinstance(plain[1], SyncBatchNorm)
    assert torch.equal(results[0], results[2]) and torch.equal(results[1], results[3])
