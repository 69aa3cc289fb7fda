"""Neural style: a photo in the style of paintings, by optimising the image itself.

Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016: what
the features of the content at a deep layer say stays, and the Gram matrices of the features at
several layers become those of the style. Options, weights and sizes are those of neural-style-pt.

Deviations from it: the result is the image after the last update (there: before it), and bytes are
rounded (there: truncated). Masks are an addition (guided Gram matrices, Gatys et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import torch
from PIL import Image
from torch import Tensor

from core.data.images import open_image
from core.errors import UserError
from core.stylizer import Look, Progress
from style.neural.config import Config as NeuralStyleConfig
from style.neural.config import Scale
from style.neural.descent import Descent
from style.neural.images import resize, scaled_size, to_picture, to_tensor, with_colors_of
from style.neural.masks import Classes, class_masks
from style.neural.networks import Encoder, arrange, make_encoder
from style.neural.objective import Objective, Picture


class NeuralStyle:
    """An encoder on a device, and the options of the optimisation."""

    name: ClassVar[str] = "neural_style"
    Config: ClassVar[type[NeuralStyleConfig]] = NeuralStyleConfig

    def __init__(self, config: NeuralStyleConfig, encoder: Encoder, device: torch.device) -> None:
        self.config, self.encoder, self.device = config, encoder, device

    @classmethod
    def build(cls, config: NeuralStyleConfig, device: torch.device) -> Self:
        """The encoder with its weights; see `core.stylizer.Stylizer`."""
        encoder = make_encoder(config.model)
        arrange(encoder, config.run, device)
        return cls(config, encoder, device)

    def stylize(
        self,
        content: Image.Image,
        styles: Sequence[Image.Image],
        *,
        content_mask: Image.Image | None = None,
        style_masks: Sequence[Image.Image | None] = (),
        progress: Progress | None = None,
    ) -> Image.Image:
        """`content` in the blended style of `styles`, scale by scale.

        See `core.stylizer.Stylizer`. The result's longer side is that of the last scale. With masks
        each class of the content takes its style from the same class of the styles.
        """
        done, picture = (progress.resumed() if progress else None) or (0, None)
        masks = class_masks(content, styles, content_mask, style_masks)
        total = sum(scale.iterations for scale in self.config.scales)
        first = 0
        for scale in self.config.scales:
            small = self._resized(content, scale.size)
            last = first + scale.iterations
            if done < last:
                objective = self.objective(small, styles, masks, scale)
                descent = self._start(small, picture, objective, scale)
                for number in range(max(first, done) + 1, last + 1):
                    terms = descent.step()
                    if progress is not None:
                        look = partial(self._look, descent, terms, small)
                        progress.advance(number, total, look)
                picture = self._picture(descent)
            first = last
        assert picture is not None
        return self._finished(picture, small)

    def objective(
        self,
        content: Image.Image,
        styles: Sequence[Image.Image],
        masks: tuple[Classes, Sequence[Classes]] | None,
        scale: Scale,
    ) -> Objective:
        """The terms of one scale, with targets from `content` (at its size) and `styles`."""
        config = self.config
        weights = config.image.style_blend_weights or (1.0,) * len(styles)
        if len(weights) != len(styles):
            raise UserError(
                f"image.style_blend_weights: {len(weights)} for {len(styles)} styles; give one "
                "for each"
            )
        loss = config.loss
        if scale.style_weight is not None:
            loss = loss.model_copy(update={"style_weight": scale.style_weight})
        side = int(scale.size * config.image.style_scale)
        of_content, of_styles = masks or (None, (None,) * len(styles))
        objective = Objective(
            self.encoder,
            loss,
            Picture(self._tensor(content), of_content),
            [
                Picture(self._tensor(self._resized(style, side)), classes)
                for style, classes in zip(styles, of_styles, strict=True)
            ],
            weights,
            config.model.content_layers if loss.content_weight else (),
            config.model.style_layers if loss.style_weight else (),
            torch.bfloat16 if config.run.precision == "bf16" else None,
        )
        if config.run.compile:
            objective.compile()
        return objective

    def _start(
        self, content: Image.Image, picture: Image.Image | None, objective: Objective, scale: Scale
    ) -> Descent:
        """A descent from `picture`, or at the very beginning from what `image.init` says."""
        image = self.config.image
        if picture is None and image.init == "content":
            picture = content
        elif picture is None and image.init_image is not None:
            picture = open_image(Path(image.init_image))
        if picture is not None:
            start = self._tensor(resize(picture, content.size))
        else:
            generator = torch.Generator().manual_seed(image.seed)
            start = 0.001 * torch.randn(3, content.height, content.width, generator=generator)
            start = start[None].to(self.device)
        optim = self.config.optim
        if scale.optimizer is not None:
            optim = optim.model_copy(update={"optimizer": scale.optimizer})
        return Descent(start, objective, optim)

    def _resized(self, picture: Image.Image, side: int) -> Image.Image:
        size = scaled_size(*picture.size, side)
        if min(size) < self.encoder.minimum:
            raise UserError(
                f"image: {picture.width}x{picture.height} px become {size[0]}x{size[1]} at "
                f"{side} px, but the encoder needs sides of {self.encoder.minimum} px; use larger "
                "scales, or crop the image"
            )
        return resize(picture, size)

    def _tensor(self, picture: Image.Image) -> Tensor:
        return to_tensor(picture).to(self.device)

    def _picture(self, descent: Descent) -> Image.Image:
        if not bool(torch.isfinite(descent.image).all()):
            raise UserError(
                "the optimisation diverged (values are not finite); use optim.optimizer: adam, "
                "smaller weights in loss, or run.precision: fp32"
            )
        return to_picture(descent.image)

    def _finished(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        return with_colors_of(picture, content) if self.config.image.original_colors else picture

    def _look(self, descent: Descent, terms: Mapping[str, Tensor], content: Image.Image) -> Look:
        picture = self._picture(descent)
        values = {name: float(value) for name, value in terms.items()}
        return Look(self._finished(picture, content), picture, values)
