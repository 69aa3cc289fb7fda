"""Terms of MUNIT (Huang et al. 2018, section 3 and 5.1) and UNIT, and the VGG-16 behind one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses import GanMode, average, dis_loss, full_precision, gen_loss
from core.nn.norms import instance_norm
from core.nn.student import VGGStudent
from core.nn.vgg import VGG, VGGInput, load_vgg, vgg_input
from munit.config import GanType

_MODES: dict[GanType, GanMode] = {"lsgan": "lsgan", "nsgan": "vanilla"}


def multi_scale_dis_loss(
    fake: Sequence[Tensor], real: Sequence[Tensor], gan_type: GanType
) -> Tensor:
    """Sum what a discriminator minimises, fake and real terms of every scale, without factor 1/2.

    `gan_type` is `lsgan` (targets 0 and 1) or `nsgan` (cross-entropy of logits, where the official
    code applies a sigmoid first and clamps logarithms at -100).
    """
    mode = _MODES[gan_type]
    terms = [dis_loss(scores, mode, real=False) for scores in fake]
    return torch.stack(terms + [dis_loss(scores, mode, real=True) for scores in real]).sum()


def multi_scale_gen_loss(fake: Sequence[Tensor], gan_type: GanType) -> Tensor:
    """Sum what a generator minimises, its images judged as real, over the scales."""
    return torch.stack([gen_loss(scores, _MODES[gan_type]) for scores in fake]).sum()


def kl_loss(mean: Tensor) -> Tensor:
    """Return the KL divergence of N(mean, 1) from N(0, 1), less its factor 1/2: mean of mean^2."""
    return average(full_precision(mean).square())


def domain_invariant_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared difference of instance-normalised feature maps [N, C, H, W].

    Section 5.1: without the mean and scale of its channels a feature map tells little of its
    domain. In float32 at least.
    """
    x, y = (instance_norm(full_precision(f)) for f in (x, y))
    return F.mse_loss(x, y)


LAYER = "relu5_3"
STUDENT_LAYER = "relu4_2"


class PerceptualLoss:
    """Compares a translation with its source by VGG features (Huang et al. 2018, section 5.1).

    The VGG is no network of the family: it is neither trained nor saved. It is loaded at the first
    call, so that nothing but training needs its weights (a file, or torchvision's), and lives where
    the images are. `expected` is what those weights expect of an image; `student` takes the
    project's student instead, at relu4_2.
    """

    def __init__(self, weights: str | None, expected: VGGInput, *, student: bool = False) -> None:
        self.weights, self.expected, self.student = weights, expected, student
        self._vgg: VGG | VGGStudent | None = None

    def vgg(self) -> VGG | VGGStudent:
        """Load the network at first; VGG's fourth pooling is left out, as in the published one."""
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
