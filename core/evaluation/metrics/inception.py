"""Inception features, in which FID and KID are defined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from core.checkpoints.official_files import read_state
from core.errors import UserError
from core.evaluation.metrics.weights import MissingError

BATCH_SIZE = 32

Extractor = Callable[[Tensor], Tensor]
"""uint8 [N, 3, H, W] -> features [N, D] on the CPU."""


class Inception:
    """The 2048 pooled features of the TensorFlow Inception v3 of 2015, by torch-fidelity.

    FID is defined by this very network and its resize to 299 px; torch-fidelity's conversion of it
    (`core.evaluation.metrics.weights.INCEPTION`) is the reference, so it is used instead of a
    network of ours.

    Raises:
        MissingError: torch-fidelity is not installed.
        UserError: not the weights of this network.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415
                FeatureExtractorInceptionV3,
            )
        except ImportError:
            raise MissingError(
                "torch-fidelity is not installed; pip install -e '.[metrics]'"
            ) from None
        # torch-fidelity unpickles the file: first see that there is nothing but tensors in it.
        read_state(path)
        try:
            network = FeatureExtractorInceptionV3("inception", ["2048"], str(path))
        except RuntimeError as error:
            raise UserError(
                f"{path}: not the weights of Inception v3 ({str(error).splitlines()[0]})"
            ) from None
        self._network, self._device = network.to(device), device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 [N, 3, H, W] to float32 [N, 2048] on the CPU."""
        (features,) = self._network(images.to(self._device))
        return features.cpu()


class FeatureCollector:
    """Collects features of images that come one by one; neighbours of one size make a batch."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._waiting: list[Tensor] = []
        self._done: list[Tensor] = []

    def add(self, image: Tensor) -> None:
        """Take one image, uint8 [3, H, W]."""
        full = len(self._waiting) == BATCH_SIZE
        if full or (self._waiting and self._waiting[0].shape != image.shape):
            self._flush()
        self._waiting.append(image)

    def features(self) -> Tensor:
        """Return [number of images, D], in the order they came."""
        self._flush()
        return torch.cat(self._done)

    def _flush(self) -> None:
        if self._waiting:
            self._done.append(self._extractor(torch.stack(self._waiting)))
            self._waiting = []
