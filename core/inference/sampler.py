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
        origin: checkpoint file and training step, where it was loaded from one.
    """

    def __init__(
        self,
        family: GenerativeFamily,
        device: torch.device,
        precision: Literal["fp32", "bf16"] = "fp32",
        origin: str = "",
    ) -> None:
        self.family, self.device, self.precision = family, device, precision
        self.origin = origin
        self.speed = ""
        """What was taken to make it fast, where it was loaded (`core.inference.speed`)."""
        for network in family.networks.values():
            network.to(device)

    def __call__(self, noise: Tensor, captions: Sequence[str] = ()) -> Tensor:
        """Draw images of noise [N, noise_dim]: [N, C, H, W], float32 in [-1, 1], on the CPU.

        Raises:
            UserError: noise of another length, or as `conditions`.
        """
        return self.draw(noise, self.conditions(captions, len(noise)))

    def conditions(self, captions: Sequence[str], num: int) -> Tensor | None:
        """Return conditions [num, vocabulary.size] of `num` captions, or of one for all.

        None for a model without captions.

        Raises:
            UserError: captions missing, too few or too many, unknown, or not asked for.
        """
        vocabulary = self.family.vocabulary
        if vocabulary is None:
            if captions:
                raise UserError(
                    f"caption {captions[0]!r}: this model was trained without captions and draws "
                    "no text"
                )
            return None
        if len(captions) not in (1, num):
            raise UserError(
                f"{len(captions)} captions: this model draws what it is told; give --text once, or "
                f"for each of {num}; known are: {vocabulary}"
            )
        return vocabulary.encode(captions).expand(num, -1)

    @torch.no_grad()
    def draw(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Draw images of noise and conditions [N, vocabulary.size], perhaps between captions."""
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
