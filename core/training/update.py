"""The one function that changes weights, and what holds them still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.runtime import distributed


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Cut every parameter entry to [-limit, limit] in place (WGAN, Algorithm 1, line 7).

    The scales and shifts of norms take part; running statistics do not.
    """
    for parameter in network.parameters():
        parameter.clamp_(-limit, limit)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within, the networks' parameters take no gradients (their inputs still do)."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Updater:
    """Backward, gradient averaging, unscaling, clipping, non-finite guard and step.

    A step whose loss or gradient is not finite leaves weights, optimizer and (at `finish`) the
    networks' buffers as they were. The decision stays on the device: fused optimizers read it as
    `found_inf`, so that nothing waits for a GPU.

    Args:
        device: of the networks.
        networks: all of a family's, for their buffers.
        clip_grad_norm: largest global gradient norm, or None.
        scaler: for fp16; None otherwise.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        networks: Sequence[nn.Module] = (),
        clip_grad_norm: float | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.clip_grad_norm = clip_grad_norm
        self.scaler = scaler
        self._buffers = _gathered([b for network in networks for b in network.buffers()])
        self._saved: list[Tensor] = []
        self.skipped = torch.zeros((), device=self.device)
        """1 if any update since `begin` was skipped, else 0; a tensor, so that reading waits."""

    @torch.no_grad()
    def begin(self) -> None:
        """Remember the buffers before a training step."""
        self.skipped = torch.zeros((), device=self.device)
        self._saved = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def finish(self) -> None:
        """Undo after a training step what a non-finite forward did to the buffers."""
        for buffer, saved in zip(self._buffers, self._saved, strict=True):
            buffer.copy_(torch.where(self.skipped > 0, saved, buffer))
        if self.scaler is not None:
            self.scaler.update()

    def __call__(
        self, optimizer: Optimizer, *losses: Tensor, clip_grad_norm: float | None = None
    ) -> None:
        """Step `optimizer` on the sum of `losses` (scalars).

        Args:
            optimizer: the one whose parameters change.
            losses: to be added up.
            clip_grad_norm: largest gradient norm of this update, if below the general one.
        """
        poison = self._backward([optimizer], losses)
        self._step([optimizer], poison, clip_grad_norm, self.scaler)

    def step_together(self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]]) -> None:
        """Take several steps, one after the other, with all gradients at the present weights.

        For objectives that share a graph and parameters: after the first step the graph would meet
        weights that are no longer those of its forward. If one loss or gradient is not finite no
        step is taken.

        Args:
            turns: (optimizers, losses) of each step; the losses of one step are added up.
        """
        taken, poisons = [], []
        for number, (optimizers, losses) in enumerate(turns, 1):
            poisons.append(self._backward(optimizers, losses, retain_graph=number < len(turns)))
            parameters = _parameters(optimizers)
            gradients = [p.grad for p in parameters]
            poisons.append(0 * torch.nn.utils.get_total_norm(_given(gradients)))
            taken.append((optimizers, parameters, gradients))
            for parameter in parameters:
                parameter.grad = None  # the next backward must not add to it
        poison = torch.stack(poisons).sum()
        for number, (optimizers, parameters, gradients) in enumerate(taken):
            scaler = self.scaler
            if scaler is not None and number:
                # The scaler lets an optimizer step only once, and has met any overflow by now.
                torch._foreach_div_(_given(gradients), scaler.scale(torch.ones_like(poison)))
                scaler = None
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            self._step(optimizers, poison, None, scaler)

    def _backward(
        self,
        optimizers: Sequence[Optimizer],
        losses: Iterable[Tensor],
        *,
        retain_graph: bool = False,
    ) -> Tensor:
        """Leave averaged, still scaled gradients of the sum of `losses`.

        Returns:
            0 if the sum is finite on every process, otherwise not a number.
        """
        total = torch.stack([loss.reshape(()) for loss in losses]).sum()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        # Backward runs in the types of the forward by itself; autocast there is not supported.
        with torch.autocast(self.device.type, enabled=False):
            scaled = self.scaler.scale(total) if self.scaler is not None else total
            scaled.backward(retain_graph=retain_graph)
        poison = 0 * total.detach()
        distributed.average_gradients(_parameters(optimizers), poison)
        return poison

    def _step(
        self,
        optimizers: Sequence[Optimizer],
        poison: Tensor,
        clip_grad_norm: float | None,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        """Unscale, clip, and step unless something is not finite."""
        parameters = _parameters(optimizers)
        if scaler is not None:
            for optimizer in optimizers:
                # The scaler looks at gradients alone, and those of an infinite loss may be finite.
                first = next(p.grad for p in _parameters([optimizer]) if p.grad is not None)
                first.add_(poison)
                scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm(_given(p.grad for p in parameters))
        limits = [x for x in (self.clip_grad_norm, clip_grad_norm) if x is not None]
        if limits:
            torch.nn.utils.clip_grads_with_norm_(parameters, min(limits), norm)
        # Gradients and poison are averages, the same on every process, so all decide alike.
        bad = (~torch.isfinite(norm + poison)).to(torch.float32)
        for optimizer in optimizers:
            if scaler is not None:
                scaler.step(optimizer)
            elif optimizer.defaults.get("fused"):
                optimizer.grad_scale = None  # type: ignore[attr-defined]
                optimizer.found_inf = bad  # type: ignore[attr-defined]
                optimizer.step()
            elif not bad.item():
                optimizer.step()
        # A network that is used again within the step must not meet casts of its old weights.
        torch.clear_autocast_cache()
        if self.scaler is not None:
            # An overflow of scaled gradients is the scaler's daily business; at a scale of 1 or
            # less nothing was scaled up, and with an infinite loss nothing could have been.
            scale = self.scaler.scale(torch.ones_like(bad))
            bad = torch.where(scale > 1, (~torch.isfinite(poison)).to(bad.dtype), bad)
        self.skipped = torch.maximum(self.skipped, bad.to(self.skipped.device))


def _gathered(buffers: Sequence[Tensor]) -> list[Tensor]:
    """Move buffers into one tensor for each type, of which they become views, and return those.

    Keeping and restoring them then takes a few operations, however many layers there are.
    """
    together = []
    for kind in dict.fromkeys((buffer.dtype, buffer.device) for buffer in buffers):
        group = [buffer for buffer in buffers if (buffer.dtype, buffer.device) == kind]
        flat = torch.cat([buffer.reshape(-1) for buffer in group])
        for buffer, part in zip(group, flat.split([b.numel() for b in group]), strict=True):
            buffer.data = part.view(buffer.shape)
        together.append(flat)
    return together


def _parameters(optimizers: Iterable[Optimizer]) -> list[nn.Parameter]:
    return [
        p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    ]


def _given(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    return [gradient for gradient in gradients if gradient is not None]
