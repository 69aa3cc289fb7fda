"""A generative checkpoint as a function of noise and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from core.errors import UserError
from core.family import GenerativeFamily
from core.nn.modes import evaluating

_BATCH = 64


class Sampler:
    """A generative family in evaluation mode, as a function of noise and captions.

    Args:
        family: with its (averaged) weights.
        device: where its networks go.
        precision: `fp32`, or `bf16` autocast.
    """

    origin: str = ""
    """Checkpoint file and training step, where it was loaded from one."""

    def __init__(
        self,
        family: GenerativeFamily,
        device: torch.device,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.family, self.device, self.precision = family, device, precision
        for network in family.networks.values():
            network.to(device)

    def __call__(self, noise: Tensor, captions: Sequence[str] = ()) -> Tensor:
        """Images of noise [N, noise_dim], with a caption for each where the model takes them.

        Returns:
            [N, C, H, W], float32 in [-1, 1], on the CPU.

        Raises:
            UserError: Noise of another length, or captions missing, unknown or not asked for.
        """
        vocabulary = self.family.vocabulary
        if captions and vocabulary is None:
            raise UserError("this model was trained without captions and draws no text")
        if not captions and vocabulary is not None:
            raise UserError(f"this model draws what it is told; known are: {vocabulary}")
        return self.draw(noise, vocabulary.encode(captions) if vocabulary is not None else None)

    @torch.no_grad()
    def draw(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """The same of conditions [N, vocabulary.size], which may lie between captions."""
        images = []
        half = self.precision == "bf16"
        with (
            evaluating(*self.family.networks.values()),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            for start in tqdm(range(0, len(noise), _BATCH), desc="sample", unit="batch"):
                part = slice(start, start + _BATCH)
                given = None if conditions is None else conditions[part].to(self.device)
                images.append(self.family.sample(noise[part].to(self.device), given).float().cpu())
        return torch.cat(images)
