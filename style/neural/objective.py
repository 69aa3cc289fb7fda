"""What is minimised over the image: targets captured once, and the terms of one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from style.neural.config import Loss
from style.neural.losses import (
    blend,
    content_loss,
    gram,
    style_loss,
    total_variation,
    weighted,
)
from style.neural.networks import Encoder


@dataclass(frozen=True)
class Picture:
    """An image to take a target from.

    Attributes:
        image: [1, 3, H, W] in Caffe's space.
        classes: {class: mask [h, w] in [0, 1]}, of any size; None: the whole image is one class.
    """

    image: Tensor
    classes: dict[int, Tensor] | None = None


@dataclass(frozen=True)
class Layer:
    """A term of one layer.

    Attributes:
        name: of the layer.
        weight: of the term.
        target: features of the content; or one Gram matrix [C, C] for each mask.
        masks: where in the image each Gram matrix is taken, at the layer's size; None: everywhere.
        shares: weight of each Gram matrix, its part of the image; they add up to at most 1.
    """

    name: str
    weight: float
    target: tuple[Tensor, ...]
    masks: tuple[Tensor | None, ...] = (None,)
    shares: tuple[float, ...] = (1.0,)


def _mask_at(mask: Tensor, features: Tensor) -> Tensor:
    """Share of the class in each place of a layer, [H, W]."""
    size = (int(features.shape[-2]), int(features.shape[-1]))
    return F.interpolate(mask[None, None].to(features), size=size, mode="area")[0, 0]


class Objective:
    """Content, style and total variation against captured targets.

    Args:
        encoder: see `style.neural.networks`.
        loss: weights.
        content: what the image keeps; with classes each takes its style from the same class of the
            styles, and a class that no style has takes none.
        styles: what it is painted in.
        blend_weights: one per style.
        content_layers: none where only style is to be reconstructed.
        style_layers: none where only content is.
        precision: autocast type of the encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        content: Picture,
        styles: Sequence[Picture],
        blend_weights: Sequence[float],
        content_layers: Sequence[str],
        style_layers: Sequence[str],
        precision: torch.dtype | None = None,
    ) -> None:
        self._encoder, self._loss, self._precision = encoder, loss, precision
        self._layers = tuple(dict.fromkeys((*content_layers, *style_layers)))
        self._evaluate: Callable[[Tensor], dict[str, Tensor]] = self._terms
        with torch.no_grad():
            features = self._features(content.image)
            self.content = [self._content_layer(name, features[name]) for name in content_layers]
            of_styles = [self._features(style.image) for style in styles]
            self.style = [
                self._style_layer(
                    name,
                    features[name],
                    content.classes,
                    [(f[name], style.classes) for f, style in zip(of_styles, styles, strict=True)],
                    blend_weights,
                )
                for name in style_layers
            ]

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        if self._precision is None:
            return self._encoder(image, self._layers)
        with torch.autocast(image.device.type, self._precision):
            return self._encoder(image, self._layers)

    def _content_layer(self, name: str, features: Tensor) -> Layer:
        weight = self._loss.content_weight
        return Layer(name, self._scaled(weight, features.shape), (features.detach(),))

    def _style_layer(
        self,
        name: str,
        content: Tensor,
        classes: dict[int, Tensor] | None,
        styles: Sequence[tuple[Tensor, dict[int, Tensor] | None]],
        blend_weights: Sequence[float],
    ) -> Layer:
        weight = self._scaled(self._loss.style_weight, (content.shape[1],))
        if classes is None:
            grams = [gram(features) for features, _ in styles]
            return Layer(name, weight, (blend(grams, blend_weights),))
        targets, masks, shares = [], [], []
        for label, mask in classes.items():
            found = [
                (gram(features, _mask_at(theirs[label], features)), share)
                for (features, theirs), share in zip(styles, blend_weights, strict=True)
                if theirs is not None and label in theirs
            ]
            here = _mask_at(mask, content)
            if found:
                targets.append(blend([g for g, _ in found], [share for _, share in found]))
                masks.append(here)
                shares.append(float(here.mean()))
        return Layer(name, weight, tuple(targets), tuple(masks), tuple(shares))

    def _scaled(self, weight: float, shape: Sequence[int]) -> float:
        return weight / max(shape) if self._loss.normalize_weights else weight

    def compile(self, backend: str = "inductor") -> None:
        """Compile encoder and terms as one graph, for images of the content's size."""
        self._evaluate = torch.compile(self._terms, backend=backend, fullgraph=True, dynamic=False)

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """{term: weighted scalar} of an image [1, 3, H, W]; the objective is their sum."""
        return self._evaluate(image)

    def _terms(self, image: Tensor) -> dict[str, Tensor]:
        features = self._features(image)
        again = self._loss.normalize_gradients
        terms = {}
        for layer in self.content:
            value = content_loss(features[layer.name], layer.target[0])
            terms[f"content_{layer.name}"] = weighted(
                value, layer.weight, normalize_gradients=again
            )
        for layer in self.style:
            value = image.new_zeros(())
            for target, mask, share in zip(layer.target, layer.masks, layer.shares, strict=True):
                value = value + share * style_loss(gram(features[layer.name], mask), target)
            terms[f"style_{layer.name}"] = weighted(value, layer.weight, normalize_gradients=again)
        if self._loss.tv_weight:
            terms["tv"] = self._loss.tv_weight * total_variation(image)
        return terms
