"""One training step of a family under the chosen device, precision, layout and compilation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import torch
import torch._functorch.config
from torch import Tensor

from core.cpu import choices
from core.family import Batch, Family, Update
from core.losses import allow_tf32
from core.nn.norms import synchronise
from core.options import TrainOptions
from core.runtime import distributed
from core.training.accumulate import Accumulation
from core.training.speed import arranged
from core.training.update import Updater

BatchT = TypeVar("BatchT", bound=Batch)
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """Prepares a family's networks in place and runs its `training_step`.

    Args:
        family: as built, on the CPU.
        options: precision, tf32, speed and what overrides it, compile, clip_grad_norm, accumulate.
        device: where to train.

    Attributes:
        options: with what speed has taken.
        update: what the steps change weights with; its `skipped` tells of a non-finite step.
        scaler: the gradient scaler of fp16, or None.
    """

    def __init__(self, family: Family, options: TrainOptions, device: torch.device) -> None:
        from core.cpu.accelerate import accelerate  # noqa: PLC0415  (defines operators: slow)

        networks = list(family.networks.values())
        options = arranged(options, networks, device)
        self._family, self.options, self.device = family, options, device
        allow_tf32(options.tf32)
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        if device.type == "cuda" and distributed.num_processes() > 1:
            for network in networks:
                synchronise(network)
        for network in networks:
            network.to(device, memory_format=layout).train()  # type: ignore[call-overload]
        accelerate(networks, winograd=bool(options.winograd), keep_memory=bool(options.keep_memory))
        if options.compile:
            for network in networks:
                network.compile()  # in place: state-dict keys stay
            if getattr(family, "shares_graphs", False):
                # A graph gone through twice (`Updater.step_together`) must keep what it saved.
                torch._functorch.config.donated_buffer = False
        distributed.broadcast_networks(networks)
        fp16 = options.precision == "fp16"
        self.scaler = torch.amp.GradScaler(device.type) if fp16 else None
        self.update = Updater(device, networks, options.clip_grad_norm, self.scaler)

    @property
    def ways(self) -> Mapping[str, str]:
        """How convolutions are done where that was measured, kept for a run that goes on.

        It then rounds as before, also where the measurement would come out otherwise.
        """
        return choices.current().state_dict()

    @ways.setter
    def ways(self, ways: Mapping[str, str]) -> None:
        choices.current().load_state_dict(ways)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One full iteration on a batch from the loader; returns detached scalars."""
        precision, parts = _PRECISIONS[self.options.precision], self.options.accumulate
        self.update.begin()
        half = precision is not torch.float32
        with torch.autocast(self.device.type, precision, enabled=half):
            if parts == 1:
                terms = self._run(batch, step, self.update)
            else:
                seed = (self.options.seed, distributed.rank(), step)
                meeting = Accumulation(self.update, seed)
                run = partial(self._run, step=step, update=meeting)
                terms = meeting.run(run, batch.split(parts))
        self.update.finish()
        distributed.average_buffers(self._family.networks.values())
        return terms

    def placed(self, batch: BatchT) -> BatchT:
        """Move a batch to the device, in the layout of the networks."""
        return batch.to(self.device, channels_last=bool(self.options.channels_last))

    def _run(self, batch: Batch, step: int, update: Update) -> dict[str, Tensor]:
        return self._family.training_step(self.placed(batch), step, update)
