"""FastPhotoStyle: stylise, then smooth along the content (Li et al., ECCV 2018; `demo.py`).

Between the stages images are bytes, truncated as in the official code. Deviations from it: masks
may be colour maps, and must have the shape of their images (`style.labels`); one-pixel classes do
not fail; post-processing also runs without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.checkpoints.official_files import read_state
from core.data.images import as_array, normalised
from core.errors import UserError
from core.runtime.transfer import fetch, require_digest
from core.stylizer import Look, Progress
from style.labels import LabelMap, Labels, read_maps
from style.photo import official
from style.photo.affine import affine_smoothing
from style.photo.cascade import (
    Cascade,
    DistilledCascade,
    PhotoWCTCascade,
    WaveletCascade,
    padded,
)
from style.photo.config import PhotoConfig
from style.photo.guided import guided_filter
from style.photo.labels import (
    Regions,
    match_classes,
    merge_small,
    resize_nearest,
)
from style.photo.matting import extended, propagate

_EDGE = 2
"""Pixels that the published matting cuts off and puts back by repeating the edge."""


def limited_size(width: int, height: int, limit: int) -> tuple[int, int]:
    """The box (width, height) that an image is shrunk into, by the official rule."""
    if min(width, height) <= limit:
        return width, height
    if width > height:
        return limit, int(height * limit / width)
    return int(width * limit / height), limit


def limited(image: Image.Image, limit: int | None) -> Image.Image:
    """`image`, shrunk if its short side exceeds `limit`; the aspect ratio stays."""
    if limit is None or min(image.size) <= limit:
        return image
    image = image.copy()
    image.thumbnail(limited_size(*image.size, limit), Image.Resampling.BICUBIC)
    return image


def _weights_file(config: PhotoConfig) -> Path:
    assert config.weights is not None
    path = Path(config.weights)
    advice = "or use configs/style/photo_wavelet.yaml, which needs no weights"
    if not path.is_file():
        if config.encoder != "photo_wct":
            raise UserError(f"weights: {path}: there is no such file; put it there, {advice}")
        fetch(official.URL, path, advice=f"or put {official.FILE} at {path} yourself, {advice}")
    if config.weights_sha256 is not None:
        advice = "delete it, or change weights_sha256 if you trust it"
        require_digest(path, config.weights_sha256, f"weights: {path}", advice)
    return path


def _cascade(config: PhotoConfig) -> Cascade:
    if config.encoder == "wavelet":
        return WaveletCascade()
    source = _weights_file(config)
    if config.encoder == "distilled":
        distilled = DistilledCascade()
        official.load_distilled(distilled, source)
        return distilled
    cascade = PhotoWCTCascade()
    official.load_photo_wct(cascade.networks, read_state(source), source)
    return cascade


def to_tensor(image: Image.Image, device: torch.device) -> Tensor:
    """[3, H, W] in [0, 1], float32; alpha is laid over white."""
    pixels = torch.from_numpy(as_array(image, 3)).to(device)
    return pixels.permute(2, 0, 1).float() / 255


def to_image(image: Tensor, scale: float = 255.0, *, rounded: bool = False) -> Image.Image:
    """[3, H, W] to bytes: times `scale`, clipped, truncated (or rounded)."""
    levels = (image.double() * scale).clamp(0, 255)
    levels = levels.round() if rounded else levels
    return Image.fromarray(levels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy())


class PhotoStylizer:
    """A cascade and its smoothing, on a device."""

    name: ClassVar[str] = "photo_style"
    Config: ClassVar[type[PhotoConfig]] = PhotoConfig

    def __init__(self, config: PhotoConfig, cascade: Cascade, device: torch.device) -> None:
        self.config, self.cascade, self.device = config, cascade, device

    @classmethod
    def build(cls, config: PhotoConfig, device: torch.device) -> Self:
        """Networks with their weights, which are downloaded if they are missing.

        Raises:
            UserError: weights that are missing, or do not fit.
        """
        cascade = _cascade(config)
        assert isinstance(cascade, torch.nn.Module)
        cascade.requires_grad_(False).eval().to(device)
        return cls(config, cascade, device)

    def stylize(
        self,
        content: Image.Image,
        styles: Sequence[Image.Image],
        *,
        content_mask: Image.Image | None = None,
        style_masks: Sequence[Image.Image | None] = (),
        progress: Progress | None = None,
    ) -> Image.Image:
        """See `core.stylizer.Stylizer`; one style, and masks for both images or neither."""
        if len(styles) != 1:
            raise UserError(f"style: photo style transfer takes one style image, not {len(styles)}")
        content = limited(normalised(content, "content"), self.config.max_side)
        style = limited(normalised(styles[0], "style"), self.config.max_side)
        for name, image in (("content", content), ("style", style)):
            if min(image.size) < self.cascade.minimum:
                raise UserError(
                    f"{name}: {image.width}x{image.height} pixels; both sides must be at least "
                    f"{self.cascade.minimum}"
                )
        maps = read_maps(content, [style], content_mask, style_masks)
        regions = self._regions(content, style, maps[0], maps[1][0]) if maps else None
        stages = self._stages(content, style, regions)
        done, picture = (progress.resumed() if progress else None) or (0, content)
        for number, stage in enumerate(stages[done:], done + 1):
            picture = stage(picture)
            if progress:
                progress.advance(number, len(stages), partial(Look, picture, picture))
        return picture

    def _stages(
        self, content: Image.Image, style: Image.Image, regions: Regions | None
    ) -> list[Callable[[Image.Image], Image.Image]]:
        """What is done to the picture, in order; each takes what the one before gave."""
        stages: list[Callable[[Image.Image], Image.Image]] = [
            lambda _: self.transfer(content, style, regions)
        ]
        if self.config.smoothing == "matting":
            stages.append(lambda picture: self.matting(picture, content))
        elif self.config.smoothing == "guided":
            stages.append(lambda picture: self.guided(picture, content))
        if self.config.post:
            stages.append(lambda picture: self.affine(picture, content))
        return stages

    def _regions(
        self, content: Image.Image, style: Image.Image, of_content: LabelMap, of_style: LabelMap
    ) -> Regions:
        """The classes of two maps, prepared as the options and the cascade want it."""
        if self.config.relations is not None:
            relations = _read_relations(Path(self.config.relations), (of_content, of_style))
            a, b = (merge_small(labels.ids, relations) for labels in (of_content, of_style))
            a, b = match_classes(a, b, relations)
            of_content, of_style = replace(of_content, ids=a), replace(of_style, ids=b)
        regions = Regions.of(of_content, of_style)
        if self.cascade.multiple == 1:
            return regions
        # The images will be padded: so are the maps, at their size.
        return Regions(
            self._padded(regions.content, content),
            self._padded(regions.style, style),
            regions.classes,
        )

    def _padded(self, labels: Tensor, image: Image.Image) -> Tensor:
        """A map at its image's padded size."""
        labels = resize_nearest(labels, (image.height, image.width))
        return padded(labels[None, None].double(), self.cascade.multiple)[0, 0].long()

    @torch.no_grad()
    def transfer(
        self, content: Image.Image, style: Image.Image, regions: Regions | None = None
    ) -> Image.Image:
        """The cascade, without smoothing."""
        a, b = (
            padded(to_tensor(image, self.device)[None], self.cascade.multiple)
            for image in (content, style)
        )
        result = self.cascade(a, b, regions)[0, :, : content.height, : content.width]
        return to_image(result)

    def matting(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        """`picture` smoothed like `content`; with `crop_border` 4 pixels smaller."""
        colours, guide = to_tensor(picture, self.device), content
        if not self.config.crop_border:
            return to_image(self._propagate(colours, to_tensor(guide, self.device), even=True))
        colours = colours[:, _EDGE:-_EDGE, _EDGE:-_EDGE]
        guide = content.resize((colours.shape[2], colours.shape[1]), Image.Resampling.BILINEAR)
        smoothed = self._propagate(
            extended(colours, _EDGE), extended(to_tensor(guide, self.device), _EDGE), even=False
        )
        return to_image(smoothed[:, _EDGE:-_EDGE, _EDGE:-_EDGE])

    def _propagate(self, colours: Tensor, guide: Tensor, *, even: bool) -> Tensor:
        options = self.config.matting
        return propagate(
            colours,
            guide,
            beta=options.beta,
            epsilon=options.epsilon,
            radius=options.radius,
            tolerance=options.tolerance,
            even=even,
        )

    def guided(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        """`picture` smoothed by the guided filter."""
        options = self.config.guided
        a, b = (to_tensor(image, self.device) * 255 for image in (picture, content))
        result = guided_filter(a, b, radius=options.radius, eps=options.eps)
        return to_image(result, 1.0, rounded=True)

    def affine(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        """`content` through the smoothed local colour models of `picture`."""
        options = self.config.affine
        # As it was when the official code was written: Pillow's default is bicubic since.
        scaled = content.resize(picture.size, Image.Resampling.NEAREST)
        colours, guide = (to_tensor(image, self.device) for image in (picture, scaled))
        result = affine_smoothing(colours, guide, radius=options.radius, edge=options.edge)
        return to_image(result)


def _read_relations(path: Path, maps: Sequence[LabelMap]) -> Labels:
    try:
        relations = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"relations: {path}: {error}") from None
    if relations.ndim != 2 or relations.shape[0] != relations.shape[1]:
        raise UserError(f"relations: {path}: shape {relations.shape}; a square array is expected")
    for each in maps:
        highest = int(each.ids.max())
        if highest >= len(relations):
            raise UserError(
                f"relations: {path}: has {len(relations)} classes, {each.name} has id {highest}; "
                "masks must hold these class ids"
            )
    return relations.astype(np.int64)
