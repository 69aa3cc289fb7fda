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
from core.data.images import picture_of, rgb_of
from core.errors import UserError
from core.inference.speed import arrange
from core.nn.padding import replication_pad
from core.runtime.transfer import fetch, require_digest
from core.stylizer import Look, Progress
from style.labels import LabelMap, Labels, read_maps
from style.photo import official
from style.photo.affine import affine_smoothing
from style.photo.cascade import MIN_SIDE, Cascade, DistilledCascade, PhotoWCT, WaveletCascade
from style.photo.config import PhotoConfig
from style.photo.guided import guided_filter
from style.photo.labels import Regions, match_classes, merge_small
from style.photo.matting import propagate
from style.segment import segment

_EDGE = 2
"""Pixels that the published matting cuts off and puts back by repeating the edge."""


def limited(image: Image.Image, limit: int | None) -> Image.Image:
    """Shrink an image whose short side exceeds `limit` pixels, by the official rule."""
    if limit is None or min(image.size) <= limit:
        return image
    width, height = (int(side * limit / max(image.size)) for side in image.size)
    image = image.copy()
    image.thumbnail((width, height), Image.Resampling.BICUBIC)
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
    return PhotoWCT.load(read_state(source), source)


def to_tensor(image: Image.Image, device: torch.device) -> Tensor:
    """Turn an image into [3, H, W] in [0, 1], float32; alpha is laid over white."""
    pixels = torch.from_numpy(rgb_of(image)).to(device)
    return pixels.permute(2, 0, 1).float() / 255


def to_image(image: Tensor, scale: float = 255.0) -> Image.Image:
    """Turn [3, H, W] into bytes: times `scale`, clipped, truncated."""
    levels = (image.double() * scale).clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())


class PhotoStylizer:
    """A cascade and its smoothing, on a device."""

    name: ClassVar[str] = "photo_style"
    Config: ClassVar[type[PhotoConfig]] = PhotoConfig

    def __init__(self, config: PhotoConfig, cascade: Cascade, device: torch.device) -> None:
        self.config, self.cascade, self.device = config, cascade, device

    @classmethod
    def build(cls, config: PhotoConfig, device: torch.device) -> Self:
        """Make networks with their weights, which are downloaded if they are missing.

        Raises:
            UserError: weights that are missing, or do not fit.
        """
        cascade = _cascade(config).requires_grad_(False).eval().to(device)
        arrange([cascade], config.speed)
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
        """Give `content` the style of one photo; see `core.stylizer.Stylizer`.

        Masks are given for both images or for neither; then `segment` may make them.
        """
        if len(styles) != 1:
            raise UserError(f"style: photo style transfer takes one style image, not {len(styles)}")
        content, style = (
            limited(picture_of(image, name=name).to_pil(), self.config.max_side)
            for name, image in (("content", content), ("style", styles[0]))
        )
        for name, image in (("content", content), ("style", style)):
            if min(image.size) < MIN_SIDE:
                raise UserError(
                    f"{name}: {image.width}x{image.height} pixels; both sides must be at least "
                    f"{MIN_SIDE}"
                )
        maps = read_maps(content, [style], content_mask, style_masks)
        if maps is None and self.config.segment is not None:
            of_content, *of_style = segment([content, style], self.config.segment)
            maps = of_content, of_style
        regions = self.regions(maps[0], maps[1][0]) if maps else None
        stages: list[Callable[[Image.Image], Image.Image]] = [
            partial(self.transfer, style=style, regions=regions)
        ]
        for smooth, wanted in (
            (self.matting, self.config.smoothing == "matting"),
            (self.guided, self.config.smoothing == "guided"),
            (self.affine, self.config.post),
        ):
            if wanted:
                stages.append(partial(smooth, content=content))
        done, picture = (progress.resumed() if progress else None) or (0, content)
        for number, stage in enumerate(stages[done:], done + 1):
            picture = stage(picture)
            if progress:
                progress.advance(number, len(stages), partial(Look, picture, picture))
        return picture

    def regions(self, of_content: LabelMap, of_style: LabelMap) -> Regions:
        """Find the classes that two maps share, after related ones have been joined if asked for.

        Raises:
            UserError: no class in common, or ids that `relations` does not know.
        """
        if self.config.relations is not None:
            relations = _read_relations(Path(self.config.relations), (of_content, of_style))
            a, b = (merge_small(labels.ids, relations) for labels in (of_content, of_style))
            a, b = match_classes(a, b, relations)
            of_content, of_style = replace(of_content, ids=a), replace(of_style, ids=b)
        return Regions.of(of_content, of_style)

    def transfer(
        self, content: Image.Image, style: Image.Image, regions: Regions | None = None
    ) -> Image.Image:
        """Run the cascade, without smoothing."""
        images = (to_tensor(image, self.device)[None] for image in (content, style))
        return to_image(self.cascade(*images, regions)[0])

    def matting(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        """Smooth `picture` like `content`; with `crop_border` it comes out 4 pixels smaller."""
        colours, options = to_tensor(picture, self.device), self.config.matting
        if not self.config.crop_border:
            guide = to_tensor(content, self.device)
            return to_image(propagate(colours, guide, options, even=True))
        inner = (slice(None), slice(_EDGE, -_EDGE), slice(_EDGE, -_EDGE))
        size = (picture.width - 2 * _EDGE, picture.height - 2 * _EDGE)
        guide = to_tensor(content.resize(size, Image.Resampling.BILINEAR), self.device)
        a, b = (replication_pad(x[None], _EDGE)[0] for x in (colours[inner], guide))
        return to_image(propagate(a, b, options)[inner])

    def guided(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        """Smooth `picture` by the guided filter."""
        a, b = (to_tensor(image, self.device) * 255 for image in (picture, content))
        return to_image(guided_filter(a, b, self.config.guided).round(), 1.0)

    def affine(self, picture: Image.Image, content: Image.Image) -> Image.Image:
        """Map `content` by the smoothed local colour models of `picture`."""
        # As it was when the official code was written: Pillow's default is bicubic since.
        scaled = content.resize(picture.size, Image.Resampling.NEAREST)
        colours, guide = (to_tensor(image, self.device) for image in (picture, scaled))
        return to_image(affine_smoothing(colours, guide, self.config.affine))


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
