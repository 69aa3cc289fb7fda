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

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.data.images import open_image
from core.errors import UserError
from core.stylizer import Look, Progress
from style.labels import LabelMap, read_maps, shared_classes
from style.neural.config import Config as NeuralStyleConfig
from style.neural.config import Scale
from style.neural.descent import Descent
from style.neural.images import resize, scaled_size, to_picture, to_tensor, with_colors_of
from style.neural.networks import Encoder, arrange, make_encoder
from style.neural.objective import WHOLE, Classes, Objective, Picture


class NeuralStyle:
    """An encoder on a device, and the options of the optimisation."""

    name: ClassVar[str] = "neural_style"
    Config: ClassVar[type[NeuralStyleConfig]] = NeuralStyleConfig

    def __init__(self, config: NeuralStyleConfig, encoder: Encoder, device: torch.device) -> None:
        run = arrange(encoder, config.run, device)
        config = config.model_copy(update={"run": run})
        self.config, self.encoder, self.device = config, encoder, device

    @classmethod
    def build(cls, config: NeuralStyleConfig, device: torch.device) -> Self:
        """Make the encoder with its weights; see `core.stylizer.Stylizer`."""
        return cls(config, make_encoder(config.model), device)

    def stylize(
        self,
        content: Image.Image,
        styles: Sequence[Image.Image],
        *,
        content_mask: Image.Image | None = None,
        style_masks: Sequence[Image.Image | None] = (),
        progress: Progress | None = None,
    ) -> Image.Image:
        """Paint `content` in the blended style of `styles`, scale by scale.

        See `core.stylizer.Stylizer`. The result's longer side is that of the last scale. With masks
        each class of the content takes its style from the same class of the styles.
        """
        done, picture = (progress.resumed() if progress else None) or (0, None)
        classes = class_masks(content, styles, content_mask, style_masks)
        scales = self._scales([content, *styles])
        total = sum(scale.iterations for scale in scales)
        first = 0
        for scale in scales:
            small = self._resized(content, scale.size)
            last = first + scale.iterations
            if done < last:
                descent = self.descent(small, styles, classes, scale, picture)
                for number in range(max(first, done) + 1, last + 1):
                    terms = descent.step()
                    if progress is not None:
                        look = partial(self._look, descent, terms, small)
                        progress.advance(number, total, look)
                picture = self._picture(descent)
            first = last
        assert picture is not None
        return self._finished(picture, small)

    def descent(
        self,
        content: Image.Image,
        styles: Sequence[Image.Image],
        classes: Sequence[Classes],
        scale: Scale,
        picture: Image.Image | None = None,
    ) -> Descent:
        """Prepare the optimisation of one scale, which the content has the size of already.

        `classes` are those of the content and of each style. It starts from a picture of any size,
        or from what `image.init` says.
        """
        image, config = self.config.image, self.config.at(scale)
        side = int(scale.size * image.style_scale)
        images = (content, *(self._resized(style, side) for style in styles))
        of_content, *of_styles = (
            Picture(self._tensor(each), masks) for each, masks in zip(images, classes, strict=True)
        )
        objective = Objective(self.encoder, config, of_content, of_styles)
        if picture is None and image.init == "content":
            picture = content
        elif picture is None and image.init_image is not None:
            picture = open_image(Path(image.init_image))
        if picture is not None:
            start = self._tensor(resize(picture, content.size))
        else:
            generator = torch.Generator().manual_seed(image.seed)
            noise = torch.randn(3, content.height, content.width, generator=generator)
            start = (0.001 * noise)[None].to(self.device)
        return Descent(start, objective, config.optim)

    def _scales(self, pictures: Sequence[Image.Image]) -> Sequence[Scale]:
        """Return the stages; of the default ones, those at which the encoder sees all pictures."""
        *coarse, last = self.config.scales
        if "scales" in self.config.model_fields_set:
            return (*coarse, last)
        factor, least = min(1.0, self.config.image.style_scale), self.encoder.minimum
        sides = {
            s.size: min(min(scaled_size(*p.size, int(s.size * factor))) for p in pictures)
            for s in coarse
        }
        return (*(s for s in coarse if sides[s.size] >= least), last)

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


def class_masks(
    content: Image.Image,
    styles: Sequence[Image.Image],
    content_mask: Image.Image | None,
    style_masks: Sequence[Image.Image | None],
) -> list[Classes]:
    """Read label maps as masks of the classes that the content takes from each style.

    Returns:
        Those of the content, for every class that some style gives, then those of each style, for
        the classes that it gives; at the maps' sizes.

    Raises:
        UserError: maps that are missing, do not fit, or have no class in common.
    """

    def masks(labels: LabelMap, which: Sequence[int]) -> Classes:
        found = ((label, labels.shown == label) for label in which)
        return {label: torch.from_numpy(mask.astype(np.float32)) for label, mask in found}

    maps = read_maps(content, styles, content_mask, style_masks)
    if maps is None:
        return [WHOLE] * (1 + len(styles))
    of_content, of_styles = maps
    shared = shared_classes(of_content, of_styles)
    every = sorted(set().union(*shared))
    return [masks(*pair) for pair in ((of_content, every), *zip(of_styles, shared, strict=True))]
