"""Score whether a translation keeps every thing in its place, by a known label map.

Where the label map of a scene is known, no segmentation network is needed: the true picture says
what each class looks like, and each pixel of the translation is read as the class it looks most
like.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# IEC 61966-2-1 (sRGB, D65) to CIE XYZ, each row divided by the white point.
_XYZ_FROM_RGB = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)


@dataclass(frozen=True)
class LabelAgreement:
    """Shares of pixels whose colour reads as their true class, each [N], float64 in [0, 1].

    Attributes:
        image: of the scored images.
        ceiling: of the true images themselves. Texture and shading let even the truth miss some
            pixels, so this is what a perfect translation reaches.
    """

    image: Tensor
    ceiling: Tensor


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB [N, 3, H, W] in [0, 1] to CIE L*a*b* under D65, of the same shape in float64.

    L* is in [0, 100], a* and b* within about +-110.
    """
    rgb = images.double()
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", linear.new_tensor(_XYZ_FROM_RGB), linear)
    f = torch.where(xyz > 0.008856, xyz.clamp_min(0) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(dim=1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def _share_right(pixels: Tensor, means: Tensor, labels: Tensor) -> Tensor:
    """Return the share of `pixels` [P, 3] whose nearest row of `means` [K, 3] is their label."""
    # Squared distance less |pixel|^2, which is the same for every class.
    distance = means.square().sum(dim=1) - 2 * pixels @ means.T  # [P, K]
    return (distance.argmin(dim=1) == labels).double().mean()


def label_agreement(images: Tensor, truths: Tensor, labels: Tensor) -> LabelAgreement:
    """Measure the share of pixels that look like what is truly there.

    For each image: the mean L*a*b* colour of each class in the truth under the true labels; each
    pixel of the scored image goes to the class of the nearest mean colour; the share of pixels
    assigned to their true class. Only classes that occur in the image take part. An image copied
    from the other domain is the baseline to compare with.

    Args:
        images: translations, [N, 3, H, W], float in [0, 1].
        truths: the true pictures of the same scenes, likewise.
        labels: true classes, [N, H, W], integer.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    expected = (images.shape[0], *images.shape[2:])
    if images.shape != truths.shape or images.shape[1:2] != (3,) or labels.shape != expected:
        raise ValueError(
            "label_agreement: two [N, 3, H, W] and one [N, H, W] needed, "
            f"got {images.shape}, {truths.shape} and {labels.shape}"
        )
    shares = []
    for image, truth, label in zip(rgb_to_lab(images), rgb_to_lab(truths), labels, strict=True):
        # Absent classes drop out, so that they cannot attract pixels.
        classes, index = label.flatten().unique(return_inverse=True)
        pixels = [picture.flatten(1).T for picture in (image, truth)]  # each [P, 3]
        sums = pixels[1].new_zeros(len(classes), 3).index_add_(0, index, pixels[1])
        means = sums / index.bincount(minlength=len(classes)).unsqueeze(1)
        shares.append(torch.stack([_share_right(x, means, index) for x in pixels]))
    return LabelAgreement(*torch.stack(shares, dim=1))
