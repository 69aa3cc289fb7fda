"""The domain-invariant perceptual loss, and the VGG-16, or its student, behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from core.losses import full_precision
from core.nn.student import VGGStudent
from core.nn.vgg import VGG, VGGInput, load_vgg, vgg_input
from munit.losses import domain_invariant_distance

LAYER = "relu5_3"
STUDENT_LAYER = "relu4_2"


class PerceptualLoss:
    """Compare a translation with its source by VGG features (Huang et al. 2018, section 5.1).

    The VGG is no network of the family: it is neither trained nor saved. It is loaded at the first
    call, so that nothing but training needs its weights, and lives where the images are.

    Args:
        weights: file of its weights, or None for torchvision's.
        expected: what those weights expect of an image.
        student: take the project's student instead, at relu4_2.
    """

    def __init__(self, weights: str | None, expected: VGGInput, *, student: bool = False) -> None:
        self.weights, self.expected, self.student = weights, expected, student
        self._vgg: VGG | VGGStudent | None = None

    def vgg(self) -> VGG | VGGStudent:
        """Load the network at first; VGG's fourth pooling is left out, as in the published one.

        Raises:
            UserError: no weights to be had; names the file and where to put it.
        """
        if self._vgg is None and self.student:
            self._vgg = VGGStudent.load(STUDENT_LAYER)
        elif self._vgg is None:
            vgg = VGG(16, LAYER, pooled=(1, 2, 3))
            load_vgg(vgg, self.weights)
            self._vgg = vgg
        assert self._vgg is not None
        return self._vgg

    def features(self, images: Tensor) -> Tensor:
        """Map [N, 1 or 3, H, W] in [-1, 1] to features [N, 512, H / 8, W / 8]; the student: 96."""
        images = full_precision(images)
        vgg = self.vgg().to(images.device, images.dtype)
        if self.student:
            return vgg(images.expand(-1, 3, -1, -1), [STUDENT_LAYER])[STUDENT_LAYER]
        return vgg(vgg_input(images, self.expected), [LAYER])[LAYER]

    def __call__(self, translated: Tensor, source: Tensor) -> Tensor:
        """Return the distance; gradients go to `translated` only."""
        with torch.no_grad():
            target = self.features(source)
        return domain_invariant_distance(self.features(translated), target)
