"""Attributes of procedural faces in the noise space, read from the pictures themselves."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.errors import UserError
from core.inference.latent import save_numbers
from core.inference.sampler import Sampler
from core.jobs.latent import at_most_one, random_noise, save_pairs
from core.procedural.faces import read_faces

_FIRST_LOOK = 512
"""Samples in which an attribute's direction is looked for."""


def write_attribute(
    sampler: Sampler,
    folder: Path,
    name: str,
    num: int,
    seed: int,
    strength: float,
    texts: Sequence[str] = (),
) -> tuple[int, int]:
    """Give an attribute to samples without it: noise + strength * (mean with - mean without).

    `sampler` has learnt procedural faces, whose attribute `name`, `mask` or `glasses`, is read from
    the pictures; `texts` is one caption for all, if it takes captions. Writes `attribute.png`, each
    of `num` samples, none of which served to find the direction, above itself changed, and the
    direction, `direction.npy`. Returns how many of the changed samples show the attribute, and
    `num`.

    Raises:
        UserError: hardly any sample has the attribute, or lacks it.
    """
    texts = at_most_one(texts)
    noise = random_noise(sampler, _FIRST_LOOK, seed)
    has = has_attribute(sampler(noise, texts), name)
    if not 0 < int(has.sum()) < len(has):
        raise UserError(
            f"--attribute {name}: {int(has.sum())} of {len(has)} samples show it, so there is "
            "nothing to tell it by; train for longer"
        )
    direction = noise[has].mean(dim=0) - noise[~has].mean(dim=0)
    fresh = random_noise(sampler, _FIRST_LOOK, seed + 1)
    without = fresh[~has_attribute(sampler(fresh, texts), name)][:num]
    if len(without) < num:
        raise UserError(f"--num {num}: only {len(without)} of {len(fresh)} samples lack {name}")
    before, after = (sampler(x, texts) for x in (without, without + strength * direction))
    save_pairs(before, after, folder / "attribute.png")
    save_numbers(direction, folder / "direction.npy")
    return int(has_attribute(after, name).sum()), num


def has_attribute(images: Tensor, name: str) -> Tensor:
    """Tell which faces show `mask` or `glasses`, [N] bool."""
    return torch.tensor([getattr(face, name) for face in read_faces(images)])
