"""Does a picture show what its caption says? Scored on faces whose colours can be read back.

Real text-to-image data needs a trained judge; the procedural faces are built so that a look at the
pixels tells hair and eyes (`core.procedural.faces.read_attributes`), of generated faces too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.procedural.faces import read_attributes
from core.text import split_caption


@dataclass(frozen=True)
class CaptionAgreement:
    """Shares of pictures, each in [0, 1].

    Attributes:
        hair: With the hair colour asked for.
        eyes: With the eye colour asked for.
        both: With both.
    """

    hair: float
    eyes: float
    both: float

    def __str__(self) -> str:
        return f"as asked: hair {self.hair:.1%}, eyes {self.eyes:.1%}, both {self.both:.1%}"


def caption_agreement(images: NDArray[np.uint8], captions: Sequence[str]) -> CaptionAgreement:
    """Compare what is seen in faces with what was asked for.

    Chance is 1 in 12 for hair and 1 in 10 for eyes; the procedural faces themselves reach 1.

    Args:
        images: [N, H, W, 3], uint8 RGB, at least 32 x 32.
        captions: N captions that name `hair` and `eyes`.
    """
    hair, eyes = [], []
    for image, caption in zip(images, captions, strict=True):
        seen, asked = read_attributes(image), split_caption(caption)
        hair.append(seen.hair == asked["hair"])
        eyes.append(seen.eyes == asked["eyes"])
    both = np.logical_and(hair, eyes)
    return CaptionAgreement(float(np.mean(hair)), float(np.mean(eyes)), float(both.mean()))
