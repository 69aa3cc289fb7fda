"""The history of generated images from which discriminators are fed (Shrivastava et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


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
        self.images: Tensor | None = None  # [size, C, H, W] on the queries' device
        self.count = 0
        self._generator = np.random.default_rng(seed)

    def _uniform(self) -> float:
        return float(self._generator.random())

    def _slot(self) -> int:
        return int(self._generator.integers(self.size))

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W], detached."""
        images = images.detach()
        if self.size == 0:
            return images
        if self.images is None or self.images.shape[1:] != images.shape[1:]:
            self.images = images.new_zeros(self.size, *images.shape[1:])
            self.count = 0
        self.images = self.images.to(images.device, images.dtype)
        returned = []
        for image in images:
            if self.count < self.size:
                # Nothing older to keep here; torch's own replacement of inf, the largest float,
                # would overflow again in the discriminator.
                self.images[self.count] = torch.nan_to_num(image, nan=0.0, posinf=1.0, neginf=-1.0)
                self.count += 1
                returned.append(image)
            elif self._uniform() > 0.5:
                slot = self._slot()
                old = self.images[slot].clone()
                # A choice on the device: asking the host would wait for the GPU.
                self.images[slot] = torch.where(torch.isfinite(image).all(), image, old)
                returned.append(old)
            else:
                returned.append(image)
        return torch.stack(returned)

    def state_dict(self) -> dict[str, Any]:
        """Images, their count and the generator's state: tensors and plain containers only."""
        state = self._generator.bit_generator.state
        # A copy: a slice would drag the empty slots into the file, and change under the caller.
        stored = None if self.images is None else self.images[: self.count].cpu().clone()
        # PCG64 keeps 128-bit integers, which a weights_only checkpoint stores as strings.
        numbers = {key: str(value) for key, value in state["state"].items()}
        rest = {key: state[key] for key in ("has_uint32", "uinteger")}
        return {"images": stored, "numbers": numbers, **rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`; the images move to the device at the next query."""
        stored = state["images"]
        self.images, self.count = None, 0
        if stored is not None and self.size:
            self.count = min(len(stored), self.size)
            self.images = stored.new_zeros(self.size, *stored.shape[1:])
            self.images[: self.count] = stored[: self.count]
        self._generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {key: int(value) for key, value in state["numbers"].items()},
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }
