"""What is minimised over the image: targets captured once, and the terms of one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UserError
from style.neural.config import Config
from style.neural.losses import blend, content_loss, gram, style_loss, total_variation, weighted
from style.neural.networks import Encoder

Classes = Mapping[int, Tensor | None]
"""{class: mask [H, W] in [0, 1], of any size}; None: everywhere."""
WHOLE: Classes = {0: None}
"""The classes of an image without masks."""


class Picture(NamedTuple):
    """An image [1, 3, H, W] in Caffe's space, or its features [1, C, H, W], and its classes."""

    image: Tensor
    classes: Classes = WHOLE


class StyleTarget(NamedTuple):
    """A Gram matrix [C, C] to be met by one class of a layer.

    Attributes:
        gram: of the styles.
        mask: where in the layer the class is, [H, W]; None: everywhere.
        share: the class's part of the image; those of a layer add up to at most 1.
    """

    gram: Tensor
    mask: Tensor | None
    share: float


def _mask_at(mask: Tensor | None, features: Tensor) -> Tensor | None:
    """Return the share of a class in each place of a layer, [H, W]."""
    if mask is None:
        return None
    size = (int(features.shape[-2]), int(features.shape[-1]))
    return F.interpolate(mask[None, None].to(features), size=size, mode="area")[0, 0]


def _style_targets(
    content: Picture, styles: Sequence[Picture], blend_weights: Sequence[float]
) -> list[StyleTarget]:
    """Blend the Gram matrices of a layer's features for each class that some style has."""
    targets = []
    for label, mask in content.classes.items():
        grams, weights = [], []
        for style, weight in zip(styles, blend_weights, strict=True):
            if label in style.classes:
                grams.append(gram(style.image, _mask_at(style.classes[label], style.image)))
                weights.append(weight)
        if grams:
            here = _mask_at(mask, content.image)
            share = 1.0 if here is None else float(here.mean())
            targets.append(StyleTarget(blend(grams, weights), here, share))
    return targets


class Objective:
    """Content, style and total variation against captured targets.

    Args:
        encoder: see `style.neural.networks`.
        config: layers, weights of terms and styles, and how the encoder runs.
        content: what the image keeps; each of its classes takes its style from the same class of
            the styles, and a class that no style has takes none.
        styles: what it is painted in.

    Attributes:
        weights: {term of a layer: its weight}.

    Raises:
        UserError: blending weights for another number of styles.
    """

    def __init__(
        self, encoder: Encoder, config: Config, content: Picture, styles: Sequence[Picture]
    ) -> None:
        loss, blend_weights = config.loss, config.image.style_blend_weights or (1.0,) * len(styles)
        if len(blend_weights) != len(styles):
            raise UserError(
                f"image.style_blend_weights: {len(blend_weights)} for {len(styles)} styles; give "
                "one for each"
            )
        content_layers = config.model.content_layers if loss.content_weight else ()
        style_layers = config.model.style_layers if loss.style_weight else ()
        self._layers = tuple(dict.fromkeys((*content_layers, *style_layers)))
        self._encoder, self._loss, self._half = encoder, loss, config.run.precision == "bf16"
        self._content: dict[str, Tensor] = {}
        self._style: dict[str, list[StyleTarget]] = {}
        self.weights: dict[str, float] = {}
        with torch.no_grad():
            features = self._features(content.image)
            of_styles = [self._features(style.image) for style in styles]
            for name in content_layers:
                self._content[name] = features[name]
                largest = max(features[name].shape) if loss.normalize_weights else 1
                self.weights[f"content_{name}"] = loss.content_weight / largest
            for name in style_layers:
                here = Picture(features[name], content.classes)
                there = [
                    Picture(found[name], style.classes)
                    for found, style in zip(of_styles, styles, strict=True)
                ]
                self._style[name] = _style_targets(here, there, blend_weights)
                channels = features[name].shape[1] if loss.normalize_weights else 1
                self.weights[f"style_{name}"] = loss.style_weight / channels
        self._evaluate: Callable[[Tensor], dict[str, Tensor]] = self._terms
        if config.run.compile:
            self.compile()

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self._half):
            return self._encoder(image, self._layers)

    def compile(self, backend: str = "inductor") -> None:
        """Compile encoder and terms as one graph, for images of the content's size."""
        self._evaluate = torch.compile(self._terms, backend=backend, fullgraph=True, dynamic=False)

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return {term: weighted scalar} of an image [1, 3, H, W]; the objective is their sum."""
        return self._evaluate(image)

    def _terms(self, image: Tensor) -> dict[str, Tensor]:
        features = self._features(image)
        losses = {}
        for name, target in self._content.items():
            losses[f"content_{name}"] = content_loss(features[name], target)
        for name, targets in self._style.items():
            losses[f"style_{name}"] = sum(
                (t.share * style_loss(gram(features[name], t.mask), t.gram) for t in targets),
                image.new_zeros(()),
            )
        again = self._loss.normalize_gradients
        terms = {
            name: weighted(value, self.weights[name], normalize_gradients=again)
            for name, value in losses.items()
        }
        if self._loss.tv_weight:
            terms["tv"] = self._loss.tv_weight * total_variation(image)
        return terms
