"""A checkpoint as a translator: any image size, any image mode, tiles where memory is short.

from families import load
translate = load("runs/cyclegan/horse2zebra")
zebra = translate(Image.open("horse.jpg"))          # PIL in, PIL out
batch = translate(torch.rand(4, 3, 250, 333) * 2 - 1, "BtoA")

munit = load("runs/munit/edges2shoes")              # a family with styles
ten = munit.in_styles(Image.open("edges.png"), munit.random_styles(10, seed=0))
like = munit.in_styles(Image.open("edges.png"), munit.encode_style(Image.open("shoe.jpg")))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from core.data.images import as_array, normalised
from core.data.transforms import for_testing, resize
from core.errors import UserError
from core.family import StyleFamily, TranslationFamily, to_float
from core.nn.modes import evaluating, published_test_mode
from core.options import Direction, other_way
from core.report.pictures import to_pil
from core.tiling.run import fits, run_tiled

AUTO_TILE = 512
"""Tile side where memory does not suffice for the whole image and none is asked for."""

ImageOrTensor = TypeVar("ImageOrTensor", Image.Image, Tensor)


def reflected(length: int, before: int, after: int) -> Tensor:
    """Indices that pad an axis of `length` by mirrored entries, as often as it takes.

    `length` 3 padded by 4 on both sides: 0 1 2 1 | 0 1 2 | 1 0 1 2. A single entry is repeated.
    """
    period = max(1, 2 * (length - 1))
    index = torch.arange(-before, length + after).remainder(period)
    return torch.minimum(index, period - index) if length > 1 else torch.zeros_like(index)


def pad_to_multiple(images: Tensor, multiple: int, minimum: int) -> tuple[Tensor, int, int]:
    """Reflect-pad [N, C, H, W] on all sides to the next legal size.

    Returns:
        The padded images, and the rows and columns added at the top and at the left.
    """
    starts = []
    for axis in (2, 3):
        length = images.shape[axis]
        wanted = max(minimum, -(-length // multiple) * multiple)
        before = (wanted - length) // 2
        starts.append(before)
        if wanted != length:
            index = reflected(length, before, wanted - length - before)
            images = images.index_select(axis, index.to(images.device))
    return images, starts[0], starts[1]


class Translator:
    """Translates images with the generators of one checkpoint.

    Args:
        family: with its networks loaded.
        device: where to compute.
        precision: `fp32`, or `bf16` autocast.
        test_mode: `published` tests as the official code does (pix2pix: dropout active, batch norm
            by the image's own statistics); `eval` uses running statistics and no dropout. Without
            batch norm and dropout both are the same.
        tile: side of the tiles in pixels; 0 never tiles; None tiles where memory would not do.
    """

    origin: str = ""
    """Checkpoint file and training step, where it was loaded from one."""

    def __init__(
        self,
        family: TranslationFamily,
        device: torch.device,
        precision: Literal["fp32", "bf16"] = "fp32",
        test_mode: Literal["published", "eval"] = "published",
        tile: int | None = None,
    ) -> None:
        self.family, self.device, self.precision = family, device, precision
        self.test_mode, self.tile = test_mode, tile
        for network in family.networks.values():
            network.to(device)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions there are generators for, in the data set's terms."""
        return self.family.directions

    def channels(self, direction: Direction) -> tuple[int, int]:
        """Channels in and out."""
        config = self.family.config
        a, b = config.channels
        return (a, b) if direction == config.data.direction else (b, a)

    def check_direction(self, direction: Direction | None) -> Direction:
        """The direction itself, or the first there is.

        Raises:
            UserError: the checkpoint has no generator for it.
        """
        if direction is None:
            return self.directions[0]
        if direction not in self.directions:
            raise UserError(
                f"--direction {direction}: this checkpoint only translates "
                f"{' and '.join(self.directions)}"
            )
        return direction

    @property
    def styles(self) -> StyleFamily | None:
        """The family, if it gives one image many translations."""
        return self.family if isinstance(self.family, StyleFamily) else None

    def __call__(self, image: ImageOrTensor, direction: Direction | None = None) -> ImageOrTensor:
        """Translate one PIL image, or a tensor [C, H, W] or [N, C, H, W] in [-1, 1].

        A family with styles takes one fixed code per image; `in_styles` takes those it is given.

        Returns:
            The same kind of object, of the same height and width. A PIL image's transparency is
            kept where the result has room for it (three channels); a tensor comes back as float32
            on its own device.
        """
        return self._translate_any(image, self.check_direction(direction), None)[0]

    def in_styles(
        self, image: ImageOrTensor, styles: Tensor, direction: Direction | None = None
    ) -> list[ImageOrTensor]:
        """Translate an image in several styles; its content is encoded once.

        Args:
            image: as `__call__`.
            styles: [K, style_dim], float; each goes with every image of a batch.
            direction: as `__call__`.

        Returns:
            K translations, each as `__call__` gives one.

        Raises:
            UserError: the family has no styles, or codes of another length.
        """
        direction = self.check_direction(direction)
        family = self._require_styles()
        if styles.ndim != 2 or styles.shape[1] != family.style_dim:
            raise UserError(
                f"style codes of shape {tuple(styles.shape)}; {family.name} takes "
                f"[number, {family.style_dim}]"
            )
        return self._translate_any(image, direction, styles)

    def encode_style(self, image: ImageOrTensor, direction: Direction | None = None) -> Tensor:
        """The style of an example image of the direction's target domain.

        A PIL image of any size and mode is resized as the data was for training, since a style
        encoder knows textures at one scale; a tensor is taken as it is.

        Returns:
            [N, style_dim] float32 on the CPU; N is 1 for a PIL image or a tensor [C, H, W].
        """
        direction = self.check_direction(direction)
        family = self._require_styles()
        channels = self.channels(direction)[1]
        if isinstance(image, Image.Image):
            pixels = as_array(normalised(ImageOps.exif_transpose(image)), channels)
            pixels = resize(pixels, for_testing(family.config.data))
            images = to_float(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
        else:
            images = image
        batch = images if images.dim() == 4 else images[None]
        if batch.shape[1] != channels:
            raise UserError(f"a style image for {direction} has {channels} channel(s)")
        batch, _, _ = pad_to_multiple(batch, family.multiple, family.minimum)
        with self._test_modes():
            return family.encode_style(batch.to(self.device), direction).float().cpu()

    def random_styles(self, num: int, seed: int) -> Tensor:
        """`num` codes [num, style_dim] from the prior; the same for a seed on every machine."""
        family = self._require_styles()
        return family.random_styles(num, torch.Generator().manual_seed(seed))

    @property
    def has_styles(self) -> bool:
        """Whether one image has many translations."""
        return self.styles is not None

    def translations(
        self, image: ImageOrTensor, direction: Direction, num: int, seed: int
    ) -> list[ImageOrTensor]:
        """`num` translations in random styles; just one in a family without styles."""
        if self.styles is None:
            return [self(image, direction)]
        return self.in_styles(image, self.random_styles(num, seed), direction)

    def in_style_of(
        self, image: ImageOrTensor, example: ImageOrTensor, direction: Direction
    ) -> ImageOrTensor:
        """The translation in the style of an image of the target domain."""
        return self.in_styles(image, self.encode_style(example, direction), direction)[0]

    @property
    def reconstruction(self) -> Literal["own style", "there and back", ""]:
        """What `reconstruct` gives: content decoded in its own style, a cycle, or nothing."""
        if self.styles is not None:
            return "own style"
        return "there and back" if len(self.directions) == 2 else ""

    def reconstruct(self, images: Tensor, direction: Direction) -> Tensor:
        """Images of the direction's source domain as the networks give them back.

        With styles: the content decoded in the image's own style, within the domain (Huang et al.
        2018, eq. 1; the self-reconstruction of Lee et al. 2018). Otherwise translated and back.

        Args:
            images: [N, C, H, W] in [-1, 1].
            direction: whose source domain they are of.

        Raises:
            UserError: there is no way back.
        """
        direction, back = self.check_direction(direction), other_way(direction)
        if self.styles is None:
            return self(self(images, direction), self.check_direction(back))
        family, codes = self.styles, self.encode_style(images, back).to(self.device)

        def work(x: Tensor) -> Tensor:
            return family.decode(family.encode_content(x, direction), codes, back)

        results = self._padded(images, lambda x: [self._through(work, x, self._tile_side(x, work))])
        return results[0].to(images.device)

    def _require_styles(self) -> StyleFamily:
        if self.styles is None:
            raise UserError(
                f"{self.family.name} gives an image one translation; styles need a checkpoint of "
                "a family that has them, such as munit or drit"
            )
        return self.styles

    def _translate_any(
        self, image: ImageOrTensor, direction: Direction, styles: Tensor | None
    ) -> list[ImageOrTensor]:
        if isinstance(image, Image.Image):
            return self._translate_pil(image, direction, styles)
        batch = image if image.dim() == 4 else image[None]
        results = self._translate(batch, direction, styles)
        return [(x if image.dim() == 4 else x[0]).to(image.device) for x in results]

    def _translate_pil(
        self, image: Image.Image, direction: Direction, styles: Tensor | None
    ) -> list[Image.Image]:
        upright = normalised(ImageOps.exif_transpose(image))
        channels = self.channels(direction)[0]
        alpha = upright.getchannel("A") if upright.mode == "RGBA" and channels != 4 else None
        # The colours as stored: laid over a background they would blend into the result's edges.
        pixels = as_array(upright.convert("RGB") if alpha is not None else upright, channels)
        tensor = to_float(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
        results = [to_pil(x[0]) for x in self._translate(tensor[None], direction, styles)]
        for result in results:
            if alpha is not None and result.mode == "RGB":
                result.putalpha(alpha)
        return results

    @contextmanager
    def _test_modes(self) -> Iterator[None]:
        """Networks as for testing, without gradients, in the precision asked for."""
        with ExitStack() as modes:
            networks = self.family.networks.values()
            modes.enter_context(evaluating(*networks))
            if self.test_mode == "published":
                modes.enter_context(published_test_mode(*networks))
            half = self.precision == "bf16"
            modes.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=half))
            yield

    def _translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None
    ) -> list[Tensor]:
        expected = self.channels(direction)[0]
        if images.shape[1] != expected:
            raise UserError(
                f"{direction}: the network takes {expected} channel(s), got {images.shape[1]}"
            )
        return self._padded(images, partial(self._run, direction=direction, styles=styles))

    def _padded(self, images: Tensor, run: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """What `run` makes of images padded to a legal size, cut back to their own."""
        height, width = images.shape[-2:]
        padded, top, left = pad_to_multiple(images, self.family.multiple, self.family.minimum)
        with self._test_modes():
            results = run(padded)
        return [x[..., top : top + height, left : left + width].float() for x in results]

    def _run(self, images: Tensor, direction: Direction, styles: Tensor | None) -> list[Tensor]:
        """Legal images through the generator, whole or in tiles, once per style."""
        works: list[Callable[[Tensor], Tensor]] = [
            partial(self.family.translate, direction=direction)
        ]
        codes: list[Tensor] = []
        if styles is not None:
            family = self._require_styles()
            codes = [code.expand(len(images), -1) for code in styles.to(self.device)]
            works = [partial(family.translate, direction=direction, styles=c) for c in codes]
        tile = self._tile_side(images, works[0])
        if tile or styles is None:
            return [self._through(work, images, tile) for work in works]
        content = family.encode_content(images.to(self.device), direction)
        return [family.decode(content, code, direction) for code in codes]

    def _through(self, work: Callable[[Tensor], Tensor], images: Tensor, tile: int) -> Tensor:
        """Legal images through `work`, whole (0) or in tiles."""
        if not tile:
            return work(images.to(self.device))
        self._refuse_dropout(images)
        return run_tiled(work, images.cpu(), tile=tile, device=self.device)

    def _tile_side(self, images: Tensor, network: Callable[[Tensor], Tensor]) -> int:
        """Side of the tiles, or 0 for the whole image at once."""
        tile, side = self.tile, max(images.shape[-2:])
        if tile is None:
            small = side <= AUTO_TILE or fits(network, images.shape, self.device)
            tile = 0 if small else AUTO_TILE
        return 0 if side <= tile else tile

    def _refuse_dropout(self, images: Tensor) -> None:
        modules = (m for net in self.family.networks.values() for m in net.modules())
        if any(isinstance(m, torch.nn.Dropout) and m.training for m in modules):
            raise UserError(
                f"an image of {images.shape[-1]}x{images.shape[-2]} px goes through in tiles, and "
                "the published test keeps dropout active, which tiles cannot; use --eval"
            )
