"""Training of the student of VGG-16 that the project carries (`core.nn.student`).

The teacher's features along their principal axes are regressed, and their Gram matrices matched, on
views of pictures and on pictures that the student itself has moved towards another's style.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from core.data.folders import find_single
from core.data.images import read_image
from core.family import Layout, SampleBatch, Update, to_float
from core.nn.student import LAYERS, VGGStudent
from core.nn.vgg import VGG, load_vgg, vgg_input
from core.training.optimizers import adam
from core.training.update import frozen
from style.distil.config import Config as StudentConfig
from style.distil.start import fit, mean_products, prune, sizes
from style.distil.views import painted, views
from style.losses import gram_matrices, relative_distance

NAMES = tuple(layer.name for layer in LAYERS)


class Axes(nn.Module):
    """Principal axes of VGG's features at each layer, [axes, C, 1, 1], scaled for the student."""

    def __init__(self) -> None:
        super().__init__()
        for layer in LAYERS:
            self.register_buffer(layer.name, torch.zeros(layer.axes, layer.channels, 1, 1))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {layer: coordinates [N, axes, h, w]} of {layer: features [N, C, h, w]}."""
        return {name: F.conv2d(value, self.get_buffer(name)) for name, value in features.items()}

    @property
    def measured(self) -> bool:
        """Whether there are any yet."""
        return bool(self.get_buffer(NAMES[0]).any())

    def measure(self, products: Mapping[str, Tensor]) -> None:
        """Take the axes of {layer: mean F F^T [C, C]}; see `VGGStudent.forward` on their scale."""
        for layer in LAYERS:
            _, vectors = torch.linalg.eigh(products[layer.name].double())
            scale = layer.axes / layer.channels
            if layer.name == "relu4_2":
                scale = scale**0.5
            axes = scale * vectors.flip(1)[:, : layer.axes].T  # by falling eigenvalue
            self.get_buffer(layer.name).copy_(axes[:, :, None, None])


class Distillation:
    """`student`, and the `axes` of its teacher."""

    name: ClassVar[str] = "vgg_student"
    Config: ClassVar[type[StudentConfig]] = StudentConfig
    layout: ClassVar[Layout] = "single"
    ema_networks: ClassVar[tuple[str, ...]] = ("student",)
    objective: ClassVar[str] = "total"
    multiple: ClassVar[int] = 1
    minimum: ClassVar[int] = 64

    def __init__(self, config: StudentConfig) -> None:
        self.config = config
        self.student, self.axes = VGGStudent().requires_grad_(True), Axes()
        self.networks: dict[str, nn.Module] = {"student": self.student, "axes": self.axes}
        self.optimizers: Mapping[str, Optimizer] = {"student": adam([self.student], config.optim)}
        self.state: dict[str, Any] = {}
        self._teacher: VGG | None = None

    @classmethod
    def build(cls, config: StudentConfig) -> Self:
        """Make the student with initial weights; the teacher is for training only."""
        return cls(config)

    def teacher(self) -> VGG:
        """Return VGG-16, loaded at the first call.

        Raises:
            UserError: no weights to be had; names the file and where to put it.
        """
        if self._teacher is None:
            self._teacher = VGG(16, NAMES[-1])
            model = self.config.model
            load_vgg(self._teacher, model.vgg_weights, model.vgg_input)
            self._teacher.to(memory_format=torch.channels_last)
        return self._teacher

    @torch.no_grad()
    def begin(self, device: torch.device) -> None:
        """Take the axes from images of the data, and prune VGG to become the student."""
        files, num = find_single(self.config.data.root), self.config.model.num_axes_images
        generator, shown = torch.Generator().manual_seed(self.config.train.seed), []
        products = {layer.name: torch.zeros(layer.channels, layer.channels) for layer in LAYERS}
        for file in files[:: max(1, len(files) // num)]:
            pixels = torch.from_numpy(read_image(file, 3)).permute(2, 0, 1)[None]
            view = views(to_float(pixels), self.config.model.side, generator)
            shown.append(view.to(device))
            seen = self.see(shown[-1])
            with torch.autocast(device.type, enabled=False):
                for name, value in seen.items():
                    products[name] += mean_products(value).cpu()
        images = torch.cat(shown)
        self.axes.measure(products)
        with torch.autocast(device.type, enabled=False):
            prepared = vgg_input(images, self.config.model.vgg_input)
            prune(self.student, self.teacher(), prepared, images)
            coordinates = self.axes(self.see(images))
            features = self.student.vgg(vgg_input(images, "caffe") / 128, NAMES)
            for name, value in coordinates.items():
                size = self.student.get_buffer(f"scale_{name}").copy_(sizes(value))
                fit(cast("nn.Conv2d", self.student.heads[name]), features[name], value / size)

    @torch.no_grad()
    def see(self, images: Tensor) -> dict[str, Tensor]:
        """Return {layer: VGG's features} of images [N, 3, H, W] in [-1, 1]."""
        teacher = self.teacher().to(images.device)
        prepared = vgg_input(images, self.config.model.vgg_input)
        seen: dict[str, Tensor] = teacher(
            prepared.contiguous(memory_format=torch.channels_last), NAMES
        )
        return seen

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Show half of the views as they are, and half painted."""
        model, student = self.config.model, self.student
        if not self.axes.measured:
            self.begin(batch.images.device)
        generator = torch.Generator().manual_seed(self.config.train.seed + step)
        images = views(batch.images, model.side, generator)  # [N, 3, side, side]
        with frozen(student):
            half = painted(student, images[::2], generator)
        images = torch.cat([images[1::2], half])
        with torch.no_grad():
            target = self.axes(self.see(images))
        found = student(images, NAMES)

        losses, grams, of_target = {}, gram_matrices(found), gram_matrices(target)
        for name in NAMES:
            feature = relative_distance(found[name], target[name]).mean()
            gram = relative_distance(grams[name], of_target[name]).mean()
            losses[f"feature_{name}"] = model.lambda_feature * feature
            losses[f"gram_{name}"] = model.lambda_gram * gram
        update(self.optimizers["student"], *losses.values())

        terms = {name: loss.detach() for name, loss in losses.items()}
        return terms | {"total": torch.stack(list(terms.values())).sum()}

    def preview(self, batch: SampleBatch) -> Mapping[str, Tensor]:
        """Return pictures, and coordinates 2 to 4 as colours: VGG's and the student's."""
        shown = {"image": batch.images}
        target = self.axes(self.see(batch.images))
        found = self.student(batch.images, NAMES)
        for name in ("relu2_1", "relu3_1", "relu4_1"):
            spread = target[name][:, 1:4].float().std((0, 2, 3), keepdim=True)
            for whose, value in (("VGG", target[name]), ("student", found[name])):
                colours = (value[:, 1:4].float() / (3 * spread)).clamp(-1, 1)
                shown[f"{name} {whose}"] = F.interpolate(colours, batch.images.shape[2:])
        return shown
