"""Averages of gradients over the processes, sent while the backward pass still runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BYTES = 25 * 2**20
"""Gradients in one message, about: enough to be worth a message, few enough to begin early."""


@contextmanager
def averaged_backward(parameters: Sequence[nn.Parameter], *others: Tensor) -> Iterator[None]:
    """Replace the gradients that the backward pass within makes by their mean over the processes.

    They travel in messages of several gradients, last layers first, each as soon as its gradients
    are there. All processes send the same messages in the same order: a parameter without a
    gradient on one of them takes part with zeros, and keeps that.

    Args:
        parameters: without gradients before; their gradients keep their strides.
        others: tensors to be averaged along with them, in place.
    """
    if not dist.is_initialized():
        yield
        return
    mail = _Mail(parameters)
    handles = [p.register_post_accumulate_grad_hook(mail.ready) for p in parameters]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    mail.finish(others)


class _Mail:
    """The messages of one backward pass."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._buckets = _buckets(parameters)
        self._places = {p: place for place, bucket in enumerate(self._buckets) for p in bucket}
        self._missing = [len(bucket) for bucket in self._buckets]
        self._sent: list[tuple[Any, Tensor, list[Tensor]]] = []

    def ready(self, parameter: Tensor) -> None:
        """Take note of a gradient, and send what is complete and in turn."""
        self._missing[self._places[parameter]] -= 1  # type: ignore[index]
        while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
            self._send_next()

    def finish(self, others: Sequence[Tensor]) -> None:
        """Send what is left, and put all means in their places."""
        with torch.no_grad():
            while len(self._sent) < len(self._buckets):
                self._send_next()
            for other in others:
                self._send([other])
            for work, flat, tensors in self._sent:
                work.wait()
                flat.div_(dist.get_world_size())
                parts = flat.split([tensor.numel() for tensor in tensors])
                for tensor, part in zip(tensors, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def _send_next(self) -> None:
        bucket = self._buckets[len(self._sent)]
        for parameter in bucket:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._send([parameter.grad for parameter in bucket if parameter.grad is not None])

    def _send(self, tensors: list[Tensor]) -> None:
        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._sent.append((dist.all_reduce(flat, async_op=True), flat, tensors))


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters of one type in groups of about `BYTES`, the last ones first."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed(parameters):
        if room <= 0 or buckets[-1][0].dtype != parameter.dtype:
            buckets.append([])
            room = BYTES
        buckets[-1].append(parameter)
        room -= parameter.numel() * parameter.element_size()
    return buckets
