"""Captions of tags as vectors: the text side of conditional generators.

A caption is a row of pairs `<value> <attribute>`, e.g. "blue hair red eyes". Its condition vector
has one place for every value of every attribute, 1 where the caption names it, and is what the
networks embed (Reed et al. 2016 put a sentence embedding there; tags need none).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from core.errors import UserError
from core.noise import uniform
from core.options import Fraction, Options, PositiveInt, Weight

Words = Mapping[str, tuple[str, ...]]
"""{attribute: its values}, both in the order of the condition vector."""


class TextOptions(Options):
    """Conditional training: GAN-CLS and GAN-INT (Reed et al. 2016, sections 4.2 and 4.3)."""

    projection_dim: PositiveInt = 128
    """Length that a condition is projected to before it joins noise or features (official `nt`)."""
    cls_weight: Fraction = 0.5
    """Of a right image with a wrong text; fakes with the right text have the rest to 1."""
    interpolation: Weight = 0.0
    """Weight of samples of interpolated captions in the generator's loss (official
    `interp_weight`, 1.0 there); 0 trains GAN-CLS alone."""
    beta: Fraction = 0.5
    """An interpolated caption is beta of one caption and 1 - beta of another."""
    vocabulary: dict[str, tuple[str, ...]] | None = None
    """{attribute: values}; learnt from the tags file if not given, and stored in checkpoints."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, {attribute: values}, and their places in a condition vector."""

    words: Words

    @classmethod
    def learn(cls, captions: Sequence[str]) -> Self:
        """Collect the words of `captions`: attributes as they come, the values of each sorted.

        Raises:
            UserError: A caption is no row of pairs, or there is nothing to tell apart.
        """
        found: dict[str, set[str]] = {}
        distinct = [split_caption(caption) for caption in dict.fromkeys(captions)]
        for pairs in distinct:
            for attribute, value in pairs.items():
                found.setdefault(attribute, set()).add(value)
        for pairs in distinct:
            if all(len(found[attribute]) == 1 for attribute in pairs):
                text = " ".join(f"{value} {attribute}" for attribute, value in pairs.items())
                raise UserError(
                    f"caption {text!r}: no other caption has another value of these attributes, "
                    "so there is no wrong text to tell it from; add such images, or train without "
                    "model.text"
                )
        return cls({attribute: tuple(sorted(values)) for attribute, values in found.items()})

    @cached_property
    def _places(self) -> dict[tuple[str, str], int]:
        pairs = [(name, value) for name, values in self.words.items() for value in values]
        return {pair: place for place, pair in enumerate(pairs)}

    @property
    def size(self) -> int:
        """Length of a condition vector."""
        return len(self._places)

    def __str__(self) -> str:
        return "; ".join(f"{' | '.join(values)} {name}" for name, values in self.words.items())

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return conditions [N, size], float32; an attribute that a caption leaves out is all 0.

        Unknown words are refused, with the known ones.
        """
        conditions = torch.zeros(len(captions), self.size)
        for row, caption in zip(conditions, captions, strict=True):
            for attribute, value in split_caption(caption).items():
                place = self._places.get((attribute, value))
                if place is None:
                    word = value if attribute in self.words else attribute
                    raise UserError(f"{caption!r}: unknown word {word!r}; known are: {self}")
                row[place] = 1.0
        return conditions

    def mismatched(self, conditions: Tensor) -> Tensor:
        """Draw for each condition [N, size] another one that names the same attributes.

        Each attribute, which has one 1 or none, gets another value or keeps its own with equal
        chance, and one at least gets another, so that every row differs. Values drawn without
        regard to the right ones would nearly always differ in all attributes, and a discriminator
        could do with looking at the largest.
        """
        digits = conditions.split([len(values) for values in self.words.values()], dim=1)
        draws = uniform(conditions, 2, len(digits), len(conditions), dim=2)
        free = torch.stack([d.any(dim=1) & (d.shape[1] > 1) for d in digits])  # [attributes, N]
        chance = torch.where(free, draws[0], 2.0)
        change = (chance < 0.5) | (free & (chance == chance.amin(dim=0)))
        wrong = []
        for digit, changed, draw in zip(digits, change, draws[1], strict=True):
            others = digit.shape[1] - 1
            value = digit.argmax(dim=1)
            step = 1 + (draw * others).long().clamp_max(max(others - 1, 0))
            value = torch.where(changed, (value + step) % digit.shape[1], value)
            one_hot = torch.nn.functional.one_hot(value, digit.shape[1]).to(digit.dtype)
            wrong.append(one_hot * digit.any(dim=1, keepdim=True))
        return torch.cat(wrong, dim=1)


def split_caption(caption: str) -> dict[str, str]:
    """Split a caption into {attribute: value}; in any order, letters of either case.

    It must be pairs of a value and an attribute, each attribute once.
    """
    words = caption.lower().split()
    pairs = dict(zip(words[1::2], words[::2], strict=False))
    if not words or len(words) % 2 or 2 * len(pairs) != len(words):
        raise UserError(
            f"caption {caption!r}: expected pairs of a value and an attribute, each attribute "
            "once, e.g. 'blue hair red eyes'"
        )
    return pairs


def interpolate(conditions: Tensor, beta: float = 0.5) -> Tensor:
    """Mix conditions [N, size] as GAN-INT: `beta` of the first half, the rest of the second.

    The result is [N // 2, size]; with an odd N the last one has no partner.
    """
    half = len(conditions) // 2
    return beta * conditions[:half] + (1 - beta) * conditions[half : 2 * half]
