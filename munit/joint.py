"""Several inputs of one network, one by one or in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit.config import DisOptions
from munit.networks import AdaINGen


def samples_meet(options: DisOptions) -> bool:
    """Whether a discriminator's output depends on which images share a pass.

    Batch norm mixes samples; spectral norm counts forwards.
    """
    return options.norm in ("bn", "sn")


def decode_each(gen: AdaINGen, *codes: tuple[Tensor, Tensor], joint: bool) -> tuple[Tensor, ...]:
    """Images of several (content, styles); in one pass if `joint` and the sizes are equal."""
    if joint and len({content.shape[1:] for content, _ in codes}) == 1:
        content, styles = (torch.cat(parts) for parts in zip(*codes, strict=True))
        return gen.decode(content, styles).split([len(each) for each, _ in codes])
    return tuple(gen.decode(content, styles) for content, styles in codes)


def judge_each(dis: nn.Module, *images: Tensor, joint: bool) -> tuple[list[Tensor], ...]:
    """Scores (a list over the scales) of several batches; in one pass if `joint`."""
    if joint and len({x.shape[1:] for x in images}) == 1:
        scales = dis(torch.cat(images))
        parts = [scores.split([len(x) for x in images]) for scores in scales]
        return tuple(list(scores) for scores in zip(*parts, strict=True))
    return tuple(dis(x) for x in images)
