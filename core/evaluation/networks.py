"""Networks in whose features sets of images are compared, each with the resize in front of it.

FID, KID and the Inception Score are defined by the Inception of 2015; the same distances in other
features carry the network's name (`fid_vgg16`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from core.checkpoints.official_files import read_state
from core.cpu.accelerate import accelerate
from core.errors import UserError
from core.evaluation.metrics.detail import band_energies
from core.evaluation.metrics.weights import INCEPTION, VGG16, MissingError, locate
from core.family import to_float
from core.nn.random_features import random_features
from core.nn.student import VGGStudent
from core.options import EvaluateOptions, Resize

BATCH_SIZE = 32
_INSTALL = "torch-fidelity is not installed; pip install -e '.[metrics]'"


@dataclass(frozen=True)
class Features:
    """What a network sees in images.

    Attributes:
        values: [N, D], float32, on the CPU.
        logits: [N, classes], without the bias, of networks that classify; the Inception Score
            needs them.
    """

    values: Tensor
    logits: Tensor | None = None


class FeatureNetwork(Protocol):
    """A network and its resize.

    Attributes:
        protocol: what a number depends on: network, digest of its file, resize, versions.
    """

    protocol: Mapping[str, str]

    def __call__(self, images: Tensor) -> Features:
        """See images, uint8 [N, 3, H, W]."""


def load_network(options: EvaluateOptions, folder: Path | None, device: torch.device) -> Any:
    """Load the network that `evaluate.features` names; `folder` holds weights (None: torch.hub's).

    Raises:
        MissingError: weights or a package are not there.
        UserError: not the weights of this network.
    """
    if options.features == "random":
        return RandomFeatures()
    if options.features == "student":
        return StudentFeatures(device)
    if options.features == "dinov2":
        return DINOv2Features(device)
    if options.features == "vgg16":
        return VGG16Features(locate(VGG16, folder), device)
    return Inception(locate(INCEPTION, folder), device, options.resize)


def _fidelity(name: str) -> type[nn.Module]:
    """Return torch-fidelity's extractor of a name.

    Raises:
        MissingError: torch-fidelity is not installed.
    """
    try:
        from torch_fidelity import (  # noqa: PLC0415
            feature_extractor_dinov2,
            feature_extractor_inceptionv3,
            feature_extractor_vgg16,
        )
    except ImportError:
        raise MissingError(_INSTALL) from None
    return {
        "dinov2": feature_extractor_dinov2.FeatureExtractorDinoV2,
        "inception": feature_extractor_inceptionv3.FeatureExtractorInceptionV3,
        "vgg16": feature_extractor_vgg16.FeatureExtractorVGG16,
    }[name]


def _extractor(name: str, layers: list[str], path: Path, title: str) -> nn.Module:
    kind = _fidelity(name)
    # torch-fidelity unpickles the file: first see that there is nothing but tensors in it.
    read_state(path)
    try:
        return kind(name, layers, str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path}: not the weights of {title} ({str(error).splitlines()[0]})"
        ) from None


def _resized(images: Tensor, resize: Resize) -> Tensor:
    """Resize uint8 [N, 3, H, W] to 299 px as clean-fid names it; float32, 0 to 255, not rounded."""
    if resize == "clean":  # Pillow's antialiased bicubic
        sized = F.interpolate(images.float(), (299, 299), mode="bicubic", antialias=True)
    else:
        sized = F.interpolate(images.float(), (299, 299), mode="bilinear")
    return sized.clamp_(0, 255)


class Inception:
    """The 2048 pooled features of the TensorFlow Inception v3 of 2015, by torch-fidelity.

    FID is defined by this very network; torch-fidelity's conversion of it
    (`core.evaluation.metrics.weights.INCEPTION`) is the reference, so it is used instead of a
    network of ours. Batch norms are folded into the convolutions before them.

    Args:
        path: the weights.
        device: where to compute.
        resize: "tf1" is TensorFlow 1's bilinear one, of the papers; "clean" and "legacy" are
            clean-fid's `clean` and `legacy_pytorch` (Parmar et al. 2022).

    Raises:
        MissingError: torch-fidelity is not installed.
        UserError: not the weights of this network.
    """

    def __init__(self, path: Path, device: torch.device, resize: Resize = "tf1") -> None:
        network = _extractor("inception", ["2048", "logits_unbiased"], path, "Inception v3")
        for module in network.modules():
            if isinstance(getattr(module, "bn", None), nn.BatchNorm2d):
                module.conv = fuse_conv_bn_eval(module.conv, module.bn)  # type: ignore[type-var, arg-type]
                module.bn = nn.Identity()
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._resize = device, resize
        self._sized: Tensor | None = None
        self._network.Conv2d_1a_3x3.register_forward_pre_hook(self._replace_input)
        self.protocol = {
            "features": "inception-2015 2048",
            "weights": path.name,
            "resize": resize,
            "torch-fidelity": version("torch-fidelity"),
        }

    def _replace_input(self, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Give the first layer what was resized otherwise than by torch-fidelity."""
        x = inputs[0] if self._sized is None else (self._sized - 128) / 128
        return (x.contiguous(memory_format=torch.channels_last),)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """See images, uint8 [N, 3, H, W]."""
        images = images.to(self._device)
        self._sized = None if self._resize == "tf1" else _resized(images, self._resize)
        if self._sized is not None:
            images = images[..., :1, :1]  # it resizes these as well, to no purpose
        values, logits = self._network(images)
        return Features(values.cpu(), logits.cpu())


class _At224:
    """A network of torch-fidelity that sees images at 224 px, by TensorFlow 1's resize."""

    def __init__(self, network: nn.Module, device: torch.device, name: str, weights: Path) -> None:
        self._network, self._device = network, device
        self.protocol = {
            "features": name,
            "weights": weights.name,
            "resize": "tf1, 224 px",
            "torch-fidelity": version("torch-fidelity"),
        }

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """See images, uint8 [N, 3, H, W]."""
        (values,) = self._network(images.to(self._device))
        return Features(values.cpu())


class VGG16Features(_At224):
    """The second fully connected layer of torchvision's VGG-16, [N, 4096], by torch-fidelity.

    Kynkäänniemi et al. 2019 define precision and recall in them.

    Raises:
        MissingError: torch-fidelity is not installed.
        UserError: not the weights of this network.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        network = _extractor("vgg16", ["fc2_relu"], path, "VGG-16").to(device)
        accelerate([network], winograd=True, keep_memory=False)
        super().__init__(network, device, "vgg16 fc2_relu", path)


class DINOv2Features(_At224):
    """The class token of DINOv2 ViT-S/14, [N, 384], by torch-fidelity.

    Stein et al. 2023 ("Exposing flaws of generative model evaluation metrics") find distances in
    DINOv2 nearer to people's judgement than in Inception. Its code and weights are taken from
    torch.hub's folder, where `torch.hub.load` has put them, and never fetched from here.

    Raises:
        MissingError: they are not there, or torch-fidelity is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        hub = Path(torch.hub.get_dir())
        weights = hub / "checkpoints" / "dinov2_vits14_pretrain.pth"
        for path in (hub / "facebookresearch_dinov2_main", weights):
            if not path.exists():
                raise MissingError(
                    f'{path} is not there; fetch it once with python -c "import torch; '
                    "torch.hub.load('facebookresearch/dinov2', 'dinov2_vits14')\""
                )
        network = _fidelity("dinov2")("dinov2-vit-s-14", ["dinov2"]).to(device)
        super().__init__(network, device, "dinov2 vits14", weights)


def load_student(device: torch.device) -> VGGStudent:
    """Load the project's student of VGG-16, fast on a CPU."""
    student = VGGStudent.load().to(device)
    accelerate([student], winograd=True, keep_memory=False)
    return student


class StudentFeatures:
    """Mean and spread of what the project's student of VGG-16 sees at six layers, [N, 800].

    Each layer is brought to about unit size. It knows textures and parts of objects, and needs no
    download. Sides are of at least 16 px; pictures are not resized.
    """

    def __init__(self, device: torch.device) -> None:
        self._student, self._device = load_student(device), device
        self.protocol = {"features": "student of vgg16, mean and std", "resize": "none"}

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """See images, uint8 [N, 3, H, W]."""
        names = tuple(self._student.heads)
        seen = self._student(to_float(images.to(self._device)), names)
        moments = []
        for name in names:
            size = self._student.get_buffer(f"scale_{name}").square().mean().sqrt()
            moments.append(torch.std_mean(seen[name] / size, dim=(2, 3), correction=0))
        return Features(torch.cat([part for pair in moments for part in pair], dim=1).cpu())


class RandomFeatures:
    """Mean and spread of each channel of a fixed random network, [N, 448]; needs no download.

    It sees colours and textures, and no objects: good enough to tell sets apart whose pixels
    differ, and no substitute for FID.
    """

    def __init__(self) -> None:
        self.protocol = {"features": "random convolutions, mean and std", "resize": "none"}

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """See images, uint8 [N, 3, H, W], sides of at least 4 px."""
        levels = random_features(to_float(images))
        std_mean = [torch.std_mean(level, dim=(2, 3), correction=0) for level in levels]
        return Features(torch.cat([part for pair in std_mean for part in pair], dim=1))


class DetailBands:
    """Not a network: the energies of `core.evaluation.metrics.detail`, [N, 3], kept like features.

    Sides are of at least 8 px.
    """

    def __init__(self) -> None:
        self.protocol: Mapping[str, str] = {"features": "band energies"}

    def __call__(self, images: Tensor) -> Features:
        """See images, uint8 [N, 3, H, W]."""
        return Features(band_energies(images).float())


class FeatureCollector:
    """Collects features of images that come one by one; neighbours of one size make a batch."""

    def __init__(self, network: Callable[[Tensor], Features]) -> None:
        self._network = network
        self._waiting: list[Tensor] = []
        self._done: list[Features] = []

    def add(self, image: Tensor) -> None:
        """Take one image, uint8 [3, H, W]."""
        full = len(self._waiting) == BATCH_SIZE
        if full or (self._waiting and self._waiting[0].shape != image.shape):
            self._flush()
        self._waiting.append(image)

    def features(self) -> Features:
        """Return the features of all images, in the order they came."""
        self._flush()
        logits = [part.logits for part in self._done if part.logits is not None]
        values = torch.cat([part.values for part in self._done])
        return Features(values, torch.cat(logits) if logits else None)

    def _flush(self) -> None:
        if self._waiting:
            self._done.append(self._network(torch.stack(self._waiting)))
            self._waiting = []
