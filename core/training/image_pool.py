"""The history of generated images from which discriminators are fed (Shrivastava et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.noise import once


class ImagePool:
    """Returns, for each new image, itself or an older one, with probability 1/2 each.

    While the pool holds fewer than `size` images the new one is stored and returned. Once full,
    one uniform draw per image decides: above 0.5 a random slot's image is returned and replaced,
    otherwise the new image is returned and not stored. Images of one batch are handled in order,
    so a later one can meet an earlier one. Official file: `util/image_pool.py`.

    Unlike there, the pool has its own generator and is part of a checkpoint (`state_dict`), and
    an image with non-finite values is never stored: one overflow must not come back to the
    discriminator for hundreds of steps.

    Args:
        size: slots; 0 returns every query unchanged (pix2pix).
        seed: of the draws.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.images: list[Tensor] = []  # at most `size` of [C, H, W], on the queries' device
        self._generator = np.random.default_rng(seed)

    def _uniform(self) -> float:
        return float(self._generator.random())

    def _slot(self) -> int:
        return int(self._generator.integers(self.size))

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W], detached."""
        images = images.detach()
        return images if self.size == 0 else once(lambda: self._query(images))

    def _query(self, images: Tensor) -> Tensor:
        returned = []
        for image in images:
            if len(self.images) < self.size:
                # Nothing older to keep here; torch's own replacement of inf, the largest float,
                # would overflow again in the discriminator.
                finite = torch.nan_to_num(image, nan=0.0, posinf=1.0, neginf=-1.0)
                self.images.append(finite.clone())
                returned.append(image)
            elif self._uniform() > 0.5:
                returned.append(self._exchange(self._slot(), image, alone=len(images) == 1))
            else:
                returned.append(image)
        return torch.stack(returned)

    def _exchange(self, slot: int, image: Tensor, *, alone: bool) -> Tensor:
        """Put `image` into a slot and return what was there.

        Images of other sizes (preprocess `none`, `scale_width`) come back only where the batch is
        this one image; in a larger batch the new image is returned.
        """
        old = self.images[slot].to(image.device, image.dtype)
        if old.shape != image.shape:
            self.images[slot] = torch.nan_to_num(image, nan=0.0, posinf=1.0, neginf=-1.0).clone()
            return old if alone else image
        # A choice on the device: asking the host would wait for the GPU.
        self.images[slot] = torch.where(torch.isfinite(image).all(), image, old)
        return old

    def state_dict(self) -> dict[str, Any]:
        """Images and the generator's state: tensors and plain containers only."""
        state = self._generator.bit_generator.state
        stored = [image.cpu().clone() for image in self.images]
        # PCG64 keeps 128-bit integers, which a weights_only checkpoint stores as strings.
        numbers = {key: str(value) for key, value in state["state"].items()}
        rest = {key: state[key] for key in ("has_uint32", "uinteger")}
        return {"images": stored, "numbers": numbers, **rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`; the images move to the device at the next query."""
        images = state["images"][: self.size]
        if any(image.dim() != 3 or not image.is_floating_point() for image in images):
            raise ValueError("its images are not [C, H, W]")
        self.images = [image.clone() for image in images]
        self._generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {key: int(value) for key, value in state["numbers"].items()},
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }
