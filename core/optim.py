"""Optimizers, schedules, and the one function that changes weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop
from torch.optim.lr_scheduler import ReduceLROnPlateau

from core import distributed
from core.nn.winograd_transforms import forget_filters
from core.options import OptimOptions


def adam(networks: Iterable[nn.Module], options: OptimOptions) -> Adam:
    """One fused Adam over the parameters of all `networks`."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return Adam(
        parameters,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=True,
    )


def rmsprop(networks: Iterable[nn.Module], options: OptimOptions, smoothing: float) -> RMSprop:
    """One RMSprop over the parameters of all `networks`, without momentum, not centred.

    Args:
        networks: whose parameters.
        options: lr, eps (outside the square root) and weight_decay.
        smoothing: share of the old mean square that stays at each step.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return RMSprop(
        parameters,
        lr=options.lr,
        alpha=smoothing,
        eps=options.eps,
        weight_decay=options.weight_decay,
    )


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Cut every parameter entry to [-limit, limit] in place (WGAN, Algorithm 1, line 7).

    The scales and shifts of norms take part; running statistics do not.
    """
    for parameter in network.parameters():
        parameter.clamp_(-limit, limit)
    forget_filters(network.parameters())


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
        self._buffers = [buffer for network in networks for buffer in network.buffers()]
        self._saved: list[Tensor] = []
        self.skipped = torch.zeros((), device=self.device)
        """1 if any update since `begin` was skipped, else 0; a tensor, so that reading waits."""

    @torch.no_grad()
    def begin(self) -> None:
        """Before a training step: remember the buffers."""
        self.skipped = torch.zeros((), device=self.device)
        self._saved = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def finish(self) -> None:
        """After a training step: undo what a non-finite forward did to the buffers."""
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
        total = self._backward([optimizer], losses)
        self._step([optimizer], total, clip_grad_norm, self.scaler)

    def in_turn(self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]]) -> None:
        """Several steps, one after the other, with the gradients of all at the present weights.

        For objectives that share a graph and parameters: after the first step the graph would meet
        weights that are no longer those of its forward. If one gradient is not finite no step is
        taken.

        Args:
            turns: (optimizers, losses) of each step; the losses of one step are added up.
        """
        taken = []
        for number, (optimizers, losses) in enumerate(turns, 1):
            total = self._backward(optimizers, losses, retain_graph=number < len(turns))
            parameters = _parameters(optimizers)
            taken.append((optimizers, total, parameters, [p.grad for p in parameters]))
            for parameter in parameters:
                parameter.grad = None  # the next backward must not add to it
        norms = [torch.nn.utils.get_total_norm(_given(grads)) for *_, grads in taken]
        poison = 0 * torch.stack(norms).sum()  # not a number unless all are finite
        for number, (optimizers, total, parameters, grads) in enumerate(taken):
            torch._foreach_add_(_given(grads), poison)
            scaler = self.scaler
            if scaler is not None and number:
                # The scaler lets an optimizer step only once, and has met any overflow by now.
                torch._foreach_div_(_given(grads), scaler.scale(torch.ones_like(total.detach())))
                scaler = None
            for parameter, gradient in zip(parameters, grads, strict=True):
                parameter.grad = gradient
            self._step(optimizers, total, None, scaler)

    def _backward(
        self,
        optimizers: Sequence[Optimizer],
        losses: Iterable[Tensor],
        *,
        retain_graph: bool = False,
    ) -> Tensor:
        """Leave averaged, still scaled gradients of the sum of `losses`; returns the sum."""
        total = torch.stack([loss.reshape(()) for loss in losses]).sum()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        # Backward runs in the types of the forward by itself; autocast there is not supported.
        with torch.autocast(self.device.type, enabled=False):
            scaled = self.scaler.scale(total) if self.scaler is not None else total
            scaled.backward(retain_graph=retain_graph)
        distributed.average_gradients(_parameters(optimizers))
        return total

    def _step(
        self,
        optimizers: Sequence[Optimizer],
        total: Tensor,
        clip_grad_norm: float | None,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        """Unscale, clip, and step unless something is not finite."""
        parameters = _parameters(optimizers)
        if scaler is not None:
            for optimizer in optimizers:
                scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm(_given(p.grad for p in parameters))
        limits = [x for x in (self.clip_grad_norm, clip_grad_norm) if x is not None]
        if limits:
            torch.nn.utils.clip_grads_with_norm_(parameters, min(limits), norm)
        # The averaged gradient is the same on every process, so all decide alike.
        bad = (~torch.isfinite(norm)).to(torch.float32)
        for optimizer in optimizers:
            if scaler is not None:
                scaler.step(optimizer)
            elif optimizer.defaults.get("fused"):
                optimizer.grad_scale = None  # type: ignore[attr-defined]
                optimizer.found_inf = bad  # type: ignore[attr-defined]
                optimizer.step()
            elif not bad.item():
                optimizer.step()
        forget_filters(parameters)
        if self.scaler is not None:
            # An overflow of scaled gradients is the scaler's daily business, not an alarm.
            bad = (~torch.isfinite(total.detach())).to(torch.float32)
            distributed.maximum(bad)
        self.skipped = torch.maximum(self.skipped, bad.to(self.skipped.device))


def _parameters(optimizers: Iterable[Optimizer]) -> list[nn.Parameter]:
    return [
        p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    ]


def _given(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    return [gradient for gradient in gradients if gradient is not None]


def rate_factor(
    policy: str, e: int, *, hold: int, decay: int, decay_every: int, decay_factor: float
) -> float:
    """Share of the full learning rate in force during epoch (or step) `e`.

    The official rules (`models/networks.py`, `get_scheduler`): `linear` falls after `hold` epochs
    over `decay` more and reaches exactly zero in the last; `linear_legacy` is one epoch later;
    `step` cuts by `decay_factor` every `decay_every`; `cosine` reaches zero at `hold` and rises
    again beyond. They count from 1 (`OptimOptions.first_epoch`).
    """
    if policy == "linear":
        return max(0.0, 1.0 - max(0, e + 1 - hold) / (decay + 1))
    if policy == "linear_legacy":
        return max(0.0, 1.0 - max(0, e - hold) / (decay + 1))
    if policy == "step":
        return decay_factor ** (e // decay_every)
    if policy == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * e / max(1, hold)))
    return 1.0


class Schedule:
    """Sets the learning rate of several optimizers at the beginning of each epoch (or step).

    Args:
        optimizers: all get the same factor of their own initial rate.
        options: policy and its numbers.
        hold: epochs (or steps) at the full rate.
        decay: further ones over which it falls.
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], options: OptimOptions, hold: int, decay: int
    ) -> None:
        self._optimizers = list(optimizers)
        self._options, self._hold, self._decay = options, hold, decay
        self._initial = [[g["lr"] for g in optimizer.param_groups] for optimizer in optimizers]
        self._position = 0
        self._plateaus = (
            [ReduceLROnPlateau(o, factor=0.2, threshold=0.01, patience=5) for o in optimizers]
            if options.policy == "plateau"
            else []
        )

    @property
    def position(self) -> int:
        """The epoch or step entered last."""
        return self._position

    @property
    def rate(self) -> float:
        """Learning rate now in force (first optimizer)."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def advance(self, e: int, metric: float = 0.0) -> None:
        """Enter epoch (or step) `e`, counted from 1; calling again for the same `e` does nothing.

        Args:
            e: the epoch or step.
            metric: plateau policy only: what should fall. (The official models leave it at 0, so
                that their rate simply drops by 5 every six epochs; our trainer passes the
                generator's mean objective of the epoch before.)
        """
        if e == self._position:
            return
        self._position = e
        for plateau in self._plateaus:
            plateau.step(metric)
        if self._plateaus:
            return
        factor = rate_factor(
            self._options.policy,
            e - 1 + self._options.first_epoch,
            hold=self._hold,
            decay=self._decay,
            decay_every=self._options.decay_every,
            decay_factor=self._options.decay_factor,
        )
        for optimizer, initial in zip(self._optimizers, self._initial, strict=True):
            for group, rate in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = rate * factor

    def state_dict(self) -> dict[str, Any]:
        """Position and the plateau policy's memory; the rates stand in the optimizers."""
        return {
            "position": self._position,
            "initial": self._initial,
            "plateaus": [plateau.state_dict() for plateau in self._plateaus],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._position, self._initial = state["position"], state["initial"]
        for plateau, saved in zip(self._plateaus, state["plateaus"], strict=False):
            plateau.load_state_dict(saved)
