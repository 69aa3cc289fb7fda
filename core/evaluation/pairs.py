"""Compare two pictures: a translation with its truth, and with the picture it was made from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from core.checkpoints.official_files import read_state
from core.evaluation.features import weights_folder
from core.evaluation.metrics import edge_correlation as edges
from core.evaluation.metrics import lpips, weights
from core.evaluation.metrics.color_inversion import color_inversion
from core.evaluation.metrics.psnr import psnr
from core.evaluation.metrics.ssim import MULTI_SCALE_MINIMUM, RADIUS, SIGMA, ms_ssim, ssim
from core.evaluation.metrics.structure import structure_distance
from core.evaluation.networks import load_student
from core.family import to_float
from core.nn.student import VGGStudent, perceptual_distance
from core.options import EvaluateOptions

_STRUCTURE = "relu3_1"
RULES = {
    "ssim": f"Gaussian window of {2 * RADIUS + 1} px, sigma {SIGMA}, mean over RGB",
    "images": "8-bit RGB",
}
"""What the protocol says of these measures."""


def load_lpips(folder: Path | None) -> lpips.LPIPS:
    """Load LPIPS with AlexNet, version 0.1.

    Raises:
        MissingError: its weights are not there.
        UserError: damaged weights.
    """
    trunk, linear = (weights.locate(x, folder) for x in (weights.ALEXNET, weights.LPIPS_ALEXNET))
    return lpips.LPIPS(read_state(trunk), read_state(linear))


class PairMeasures:
    """Measures pairs of pictures, uint8 [1, 3, H, W] of one size, sides of at least 12 px.

    Attributes:
        lpips: the learnt distance; None where its weights are missing or it is not wanted.
        notes: what was not measured and why.

    Raises:
        UserError: damaged weights. Weights that are not there only lead to a note.
    """

    def __init__(self, options: EvaluateOptions, device: torch.device, *, name: str = "") -> None:
        """Load LPIPS if `name`, that of what needs it, is given."""
        self.notes: list[str] = []
        self.lpips: lpips.LPIPS | None = None
        self._student = load_student(device)
        self._device = device
        if name:
            try:
                self.lpips = load_lpips(weights_folder(options)).to(device)
            except weights.MissingError as error:
                self.notes.append(f"{name} not measured: {error}")

    def with_truth(self, made: Tensor, truth: Tensor) -> dict[str, float]:
        """Compare a picture with the one it should be."""
        found = {
            "psnr": float(psnr(made, truth, 255)),
            "ssim": float(ssim(made, truth, 255)),
        }
        if min(made.shape[2:]) >= MULTI_SCALE_MINIMUM:
            found["ms_ssim"] = float(ms_ssim(made, truth, 255))
        found["l1"] = float((made.double() - truth.double()).abs().mean() / 255)
        if self.lpips is not None and min(made.shape[2:]) >= lpips.MINIMUM:
            x, y = (to_float(image).to(self._device) for image in (made, truth))
            with torch.inference_mode():
                found["lpips"] = float(self.lpips(x, y))
        if min(made.shape[2:]) >= VGGStudent.minimum:
            x, y = (to_float(image).to(self._device) for image in (made, truth))
            with torch.inference_mode():
                found["student_distance"] = float(perceptual_distance(self._student, x, y))
        return found

    def with_source(self, source: Tensor, made: Tensor) -> dict[str, float]:
        """Tell how much of the content of its source a picture keeps."""
        found = {
            "edge_correlation": float(edges.edge_correlation(source, made)),
            "color_inversion": float(color_inversion(source, made)),
        }
        if min(made.shape[2:]) >= VGGStudent.minimum:
            both = torch.cat([to_float(image).to(self._device) for image in (source, made)])
            with torch.inference_mode():
                x, y = self._student(both, [_STRUCTURE])[_STRUCTURE].split(1)
            found["structure_distance"] = float(structure_distance(x, y))
        return found
