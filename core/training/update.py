"""The one function that changes weights, and what holds them still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.noise import settle
from core.runtime import distributed
from core.runtime.buckets import averaged_backward


def clip_weights(network: nn.Module, limit: float) -> None:
    """Cut every parameter entry to [-limit, limit] in place (WGAN, Algorithm 1, line 7).

    The scales and shifts of norms take part; running statistics do not.
    """
    parameters: list[Tensor] = list(network.parameters())

    @torch.no_grad()
    def clip() -> None:
        torch._foreach_clamp_max_(parameters, limit)
        torch._foreach_clamp_min_(parameters, -limit)

    settle(clip)


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


class Turn(NamedTuple):
    """One step to take.

    Attributes:
        optimizers: that take it.
        parameters: of theirs.
        gradients: of each parameter; None where there is none.
    """

    optimizers: Sequence[Optimizer]
    parameters: list[nn.Parameter]
    gradients: list[Tensor | None]

    def shared(self) -> list[Tensor]:
        """Return the gradients after giving zeros to parameters without: every process has all."""
        for place, (parameter, gradient) in enumerate(
            zip(self.parameters, self.gradients, strict=True)
        ):
            if gradient is None:
                self.gradients[place] = torch.zeros_like(parameter)
        return _given(self.gradients)


@dataclass
class Gradients:
    """What the losses of one `update` call give, before anything is stepped on.

    Attributes:
        turns: the steps to take.
        poison: 0 if all losses were finite, otherwise not a number.
        parts: of the batch.
    """

    turns: list[Turn]
    poison: Tensor
    parts: int = 1

    @torch.no_grad()
    def add(self, other: Gradients) -> None:
        """Add those of another part of the batch."""
        for mine, its in zip(self.turns, other.turns, strict=True):
            for place, gradient in enumerate(its.gradients):
                own = mine.gradients[place]
                mine.gradients[place] = gradient if own is None else own
                if own is not None and gradient is not None:
                    own.add_(gradient)
        self.poison = self.poison + other.poison


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
        self._saved = self.buffers()

    @torch.no_grad()
    def rewind(self) -> None:
        """Put the buffers back to where they were at `begin`."""
        self.set_buffers(self._saved)

    def buffers(self) -> list[Tensor]:
        """Return copies of the networks' buffers, one tensor for all of a type."""
        return [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def set_buffers(self, values: Sequence[Tensor]) -> None:
        """Inverse of `buffers`."""
        for buffer, value in zip(self._buffers, values, strict=True):
            buffer.copy_(value)

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
        self.take(self.gradients(([optimizer], losses)), clip_grad_norm)

    def step_together(self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]]) -> None:
        """Take several steps, one after the other, with all gradients at the present weights.

        For objectives that share a graph and parameters: after the first step the graph would meet
        weights that are no longer those of its forward. If one loss or gradient is not finite no
        step is taken.

        Args:
            turns: (optimizers, losses) of each step; the losses of one step are added up.
        """
        self.take(self.gradients(*turns))

    def gradients(
        self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]], parts: int = 1
    ) -> Gradients:
        """Go backward, and return the still scaled gradients of each turn.

        Args:
            turns: (optimizers, losses) of each step; the losses of one step are added up.
            parts: of the batch that the losses are one part of, all to be added up. Then gradients
                are not averaged over the processes yet.
        """
        found, poisons = [], []
        for number, (optimizers, losses) in enumerate(turns, 1):
            poisons.append(
                self._backward(optimizers, losses, parts, retain_graph=number < len(turns))
            )
            parameters = parameters_of(optimizers)
            found.append(Turn(optimizers, parameters, [p.grad for p in parameters]))
            for parameter in parameters:
                parameter.grad = None  # the next backward must not add to it
        poison = poisons[0] if len(poisons) == 1 else torch.stack(poisons).sum()
        return Gradients(found, poison, parts)

    def take(self, found: Gradients, clip_grad_norm: float | None = None) -> None:
        """Take the steps of `gradients`, one after the other, unless one is not finite."""
        turns, poison = found.turns, found.poison
        if found.parts > 1 and distributed.num_processes() > 1:
            distributed.average([*(g for turn in turns for g in turn.shared()), poison])
        if len(turns) > 1:
            norms = [torch.nn.utils.get_total_norm(_given(turn.gradients)) for turn in turns]
            poison = poison + 0 * torch.stack(norms).sum()
        for number, (optimizers, parameters, gradients) in enumerate(turns):
            scaler = self.scaler
            if scaler is not None and number:
                # The scaler lets an optimizer step only once, and has met any overflow by now.
                torch._foreach_div_(_given(gradients), scaler.scale(torch.ones_like(poison)))
                scaler = None
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            self._step(optimizers, poison, clip_grad_norm, scaler)

    def _backward(
        self,
        optimizers: Sequence[Optimizer],
        losses: Iterable[Tensor],
        parts: int,
        *,
        retain_graph: bool,
    ) -> Tensor:
        """Leave still scaled gradients of the sum of `losses`, averaged if they are of one part.

        Returns:
            0 if the sum is finite on every process, otherwise not a number.
        """
        total = torch.stack([loss.reshape(()) for loss in losses]).sum()
        if parts > 1:
            total = total / parts
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        # Backward runs in the types of the forward by itself; autocast there is not supported.
        poison = 0 * total.detach()
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            if parts == 1:
                stack.enter_context(averaged_backward(parameters_of(optimizers), poison))
            scaled = self.scaler.scale(total) if self.scaler is not None else total
            scaled.backward(retain_graph=retain_graph)
        return poison

    def _step(
        self,
        optimizers: Sequence[Optimizer],
        poison: Tensor,
        clip_grad_norm: float | None,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        """Unscale, clip, and step unless something is not finite."""
        parameters = parameters_of(optimizers)
        if scaler is not None:
            for optimizer in optimizers:
                # The scaler looks at gradients alone, and those of an infinite loss may be finite.
                first = next(p.grad for p in parameters_of([optimizer]) if p.grad is not None)
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
            elif bad.is_cuda:
                step_unless(bad, optimizer)
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


@torch.no_grad()
def step_unless(bad: Tensor, optimizer: Optimizer) -> None:
    """Step an optimizer that reads no flag, and take it back where `bad` is 1, without waiting.

    Args:
        bad: 1 or 0, on the parameters' device.
        optimizer: whose moments, if it has none yet, are zeros after a step that is taken back;
            its count of steps goes on.
    """
    parameters = parameters_of([optimizer])
    before = [p.clone() for p in parameters]
    moments = {
        (p, key): value.clone() for p in parameters for key, value in optimizer.state[p].items()
    }
    optimizer.step()
    for parameter, old in zip(parameters, before, strict=True):
        parameter.copy_(torch.where(bad > 0, old, parameter))
        for key, value in optimizer.state[parameter].items():
            if key != "step":
                was = moments.get((parameter, key), torch.zeros_like(value))
                value.copy_(torch.where(bad > 0, was, value))


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


def parameters_of(optimizers: Iterable[Optimizer]) -> list[nn.Parameter]:
    """Return the parameters that optimizers change, in their order."""
    return [
        p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    ]


def _given(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    return [gradient for gradient in gradients if gradient is not None]
