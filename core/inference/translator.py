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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.data.images import picture_of, read_picture
from core.data.picture import Picture
from core.data.transforms import for_network, for_testing
from core.errors import UserError
from core.family import StyleFamily, TranslationFamily, to_float
from core.inference.batch_function import BatchFunction
from core.inference.outputs import as_pil, result_levels, result_of
from core.nn.joint import is_independent
from core.nn.modes import evaluating, published_test_mode
from core.nn.padding import legal, pad_to_multiple
from core.options import Direction, Span, other_way
from core.tiling.run import AUTO_TILE, TileChoice, run_tiled

STYLE_PIXELS = 512 * 512
"""Pixels of the translations of one image that are decoded at once."""

ImageOrTensor = TypeVar("ImageOrTensor", Image.Image, Picture, Tensor)
Run = Callable[[Tensor], list[Tensor]]
"""Legal images -> their translations, one per style."""


class Translator:
    """The generators of one checkpoint as a function of images.

    Args:
        family: with its networks loaded.
        device: where to compute.
        precision: `fp32`, or `bf16` autocast.
        test_mode: `published` tests as the official code does (pix2pix: dropout active, batch norm
            by the image's own statistics); `eval` uses running statistics and no dropout. Without
            batch norm and dropout both are the same.
        tile: side of the tiles in pixels; 0 never tiles; None tiles where memory would not do.
        origin: checkpoint file and training step, where it was loaded from one.
    """

    def __init__(
        self,
        family: TranslationFamily,
        device: torch.device,
        precision: Literal["fp32", "bf16"] = "fp32",
        test_mode: Literal["published", "eval"] = "published",
        tile: int | None = None,
        origin: str = "",
    ) -> None:
        self.family, self.device, self.precision = family, device, precision
        self.test_mode, self.tile, self.origin = test_mode, tile, origin
        self.speed = ""
        """What was taken to make it fast, where it was loaded (`core.inference.speed`)."""
        parameters = (p for network in family.networks.values() for p in network.parameters())
        self.num_parameters = sum(p.numel() for p in parameters)
        """Of all networks of the checkpoint, those included that only trained the others."""
        self._tiles = TileChoice(device)
        self.load_again: Callable[[], Translator] | None = None  # for other processes
        for network in family.networks.values():
            network.to(device)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions that there are generators for, in the data set's terms."""
        return self.family.directions

    def channels(self, direction: Direction) -> tuple[int, int]:
        """Return the channels in and out."""
        config = self.family.config
        a, b = config.channels[0], config.channels[-1]
        return (a, b) if direction == config.data.direction else (b, a)

    def check_direction(self, direction: Direction | None) -> Direction:
        """Return the direction itself, or the first there is.

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

    @property
    def has_styles(self) -> bool:
        """Whether one image has many translations."""
        return self.styles is not None

    @property
    def together(self) -> bool:
        """Whether images [N, C, H, W] may be translated at once with the same results.

        Batch norm and dropout do not allow it; families with styles draw theirs image by image.
        """
        return not self.has_styles and all(map(is_independent, self.family.networks.values()))

    def require_styles(self, asked: str = "") -> StyleFamily:
        """Return the family, which must have styles; `asked` begins the error, such as `--style: `.

        Raises:
            UserError: it has none.
        """
        if self.styles is None:
            raise UserError(
                f"{asked}{self.family.name} gives an image one translation; styles need a "
                "checkpoint of a family that has them, such as munit or drit"
            )
        return self.styles

    def __call__(self, image: ImageOrTensor, direction: Direction | None = None) -> ImageOrTensor:
        """Translate a picture, a PIL image, or a tensor [C, H, W] or [N, C, H, W] in [-1, 1].

        A family with styles takes one fixed code per image; `in_styles` takes those it is given.

        Returns:
            The same kind of object, of the same height and width. Transparency, which networks see
            as white, is put back where the result has room for it (not on four channels). Pictures
            keep depth and range; so do gray PIL images of 16 bits, but other PIL images come back
            in 8. A tensor comes back as float32 on its own device.
        """
        return self._translate(image, self.check_direction(direction), None)[0]

    def in_styles(
        self, image: ImageOrTensor, styles: Tensor, direction: Direction | None = None
    ) -> list[ImageOrTensor]:
        """Translate an image in styles [K, style_dim]; its content is encoded once.

        Each style goes with every image of a batch. The K results are as those of `__call__`.

        Raises:
            UserError: the family has no styles, or codes of another length.
        """
        direction = self.check_direction(direction)
        family = self.require_styles()
        if styles.ndim != 2 or styles.shape[1] != family.style_dim:
            raise UserError(
                f"style codes of shape {tuple(styles.shape)}; {family.name} takes "
                f"[number, {family.style_dim}]"
            )
        return self._translate(image, direction, styles)

    def encode_style(self, image: ImageOrTensor, direction: Direction | None = None) -> Tensor:
        """Return the style of an example image of the direction's target domain.

        A picture of any size and mode is resized as the data was for training, since a style
        encoder knows textures at one scale; a tensor is taken as it is.

        Returns:
            [N, style_dim] float32 on the CPU; N is 1 for a picture or a tensor [C, H, W].
        """
        direction = self.check_direction(direction)
        family = self.require_styles()
        channels = self.channels(direction)[1]
        given: Any = image
        if isinstance(given, Image.Image):
            given = picture_of(given, self.spans(direction)[1])
        if isinstance(given, Picture):
            pixels = for_network(given, channels, for_testing(family.config.data))
            batch = to_float(torch.from_numpy(pixels.copy()))[None]
        else:
            batch = given if given.dim() == 4 else given[None]
        if batch.shape[1] != channels:
            raise UserError(f"a style image for {direction} has {channels} channel(s)")
        batch, _, _ = pad_to_multiple(batch, family.multiple, family.minimum)
        with self.test_modes():
            return family.encode_style(batch.to(self.device), direction).float().cpu()

    def random_styles(self, num: int, seed: int) -> Tensor:
        """Draw codes [num, style_dim] from the prior, the same for a seed on every machine."""
        return self.require_styles().random_styles(num, torch.Generator().manual_seed(seed))

    def translations(
        self, image: ImageOrTensor, direction: Direction, num: int, seed: int
    ) -> list[ImageOrTensor]:
        """Translate an image in `num` random styles; just once in a family without styles."""
        if self.styles is None:
            return [self(image, direction)]
        return self.in_styles(image, self.random_styles(num, seed), direction)

    def in_style_of(
        self, image: ImageOrTensor, example: ImageOrTensor, direction: Direction
    ) -> ImageOrTensor:
        """Translate an image in the style of one of the target domain."""
        return self.in_styles(image, self.encode_style(example, direction), direction)[0]

    def batch_function(
        self, direction: Direction | None = None, style: Tensor | None = None
    ) -> BatchFunction:
        """Return the translation as a function of dicts of arrays; arguments as it takes them."""
        return BatchFunction(self, direction, style)

    @property
    def reconstruction(self) -> Literal["own style", "there and back", ""]:
        """What `reconstruct` gives: content decoded in its own style, a cycle, or nothing."""
        if self.styles is not None:
            return "own style"
        return "there and back" if len(self.directions) == 2 else ""

    def reconstruct(self, images: Tensor, direction: Direction) -> Tensor:
        """Return images [N, C, H, W] of the direction's source domain as networks give them back.

        With styles: the content decoded in the image's own style, within the domain (Huang et al.
        2018, eq. 1; the self-reconstruction of Lee et al. 2018). Otherwise translated and back.

        Raises:
            UserError: there is no way back.
        """
        direction, back = self.check_direction(direction), other_way(direction)
        if self.styles is None:
            return self(self(images, direction), self.check_direction(back))
        codes = self.encode_style(images, back).to(self.device)
        work = partial(_recoded, family=self.styles, codes=codes, ways=(direction, back))
        return self._padded(images, lambda x: [self._through(work, x)])[0].to(images.device)

    def _translate(self, image: Any, direction: Direction, styles: Tensor | None) -> list[Any]:
        channels = self.channels(direction)[0]
        run = partial(self._run, direction=direction, styles=styles)
        if isinstance(image, Image.Image):
            picture = picture_of(image, self.spans(direction)[0])
            return [as_pil(x) for x in self._translate_picture(picture, direction, run)]
        if isinstance(image, Picture):
            return self._translate_picture(image, direction, run)
        batch = image if image.dim() == 4 else image[None]
        if batch.shape[1] != channels:
            raise UserError(
                f"{direction}: the network takes {channels} channel(s), got {batch.shape[1]}"
            )
        results = self._padded(batch, run)
        return [(x if image.dim() == 4 else x[0]).to(image.device) for x in results]

    def spans(self, direction: Direction) -> tuple[Span | None, Span | None]:
        """Return black and white of inputs and of results."""
        a, b = self.family.config.data.spans
        return (a, b) if direction == "AtoB" else (b, a)

    def set_white(self, value: float) -> None:
        """Take a stored value above 0 as white in more than 8 bits, in place of `data.white`."""
        if not value > 0:
            raise UserError(f"--white {value:g}: must be above 0, which is black")
        config = self.family.config
        data = config.data.model_copy(update={"white": float(value)})
        self.family.config = config.model_copy(update={"data": data})

    def read(self, path: Path, direction: Direction, *, target: bool = False) -> Picture:
        """Read a file of the direction's source domain, or of its target.

        Raises:
            UserError: as `core.data.images.read_picture`.
        """
        return read_picture(path, self.spans(direction)[target])

    def pictures(
        self, pictures: Sequence[Picture], direction: Direction, styles: Tensor | None = None
    ) -> list[list[Picture | UserError]]:
        """Translate pictures of one `legal_size` in one pass, as `__call__` does one by one.

        Where dropout is active (`drops_out`) what it draws depends on how many there are.

        Args:
            pictures: all of 8 bits or all of more.
            direction: the way they go.
            styles: [N, K, style_dim], K codes for each picture; None in a family without styles.

        Returns:
            For each picture its results, one for each style; an error in place of a result that
            holds NaN.
        """
        run = partial(self._run, direction=direction, styles=styles)
        return self._translate_pictures(pictures, direction, run)

    def legal_size(self, picture: Picture) -> tuple[int, int]:
        """Return height and width to which a picture is padded for the networks, in pixels."""
        multiple, minimum = self.family.multiple, self.family.minimum
        height, width = (legal(side, multiple, minimum) for side in (picture.height, picture.width))
        return height, width

    def _translate_picture(self, picture: Picture, direction: Direction, run: Run) -> list[Picture]:
        results = self._translate_pictures([picture], direction, run)[0]
        for result in results:
            if isinstance(result, UserError):
                raise result
        return [result for result in results if isinstance(result, Picture)]

    def _translate_pictures(
        self, pictures: Sequence[Picture], direction: Direction, run: Run
    ) -> list[list[Picture | UserError]]:
        channels = self.channels(direction)[0]
        images, places = [], []
        for picture in pictures:
            pixels = torch.from_numpy(np.array(picture.channels(channels)))
            image = pixels.permute(2, 0, 1).contiguous()[None]
            image, *place = pad_to_multiple(image, self.family.multiple, self.family.minimum)
            images.append(image)
            places.append(place)
        batch = torch.cat(images)
        if batch.shape[-1] <= AUTO_TILE and batch.shape[-2] <= AUTO_TILE:
            batch = batch.to(self.device)  # as bytes, a quarter of the floats
        batch = batch.mul(2).sub_(1) if pictures[0].levels.deep else to_float(batch)
        with self.test_modes():
            results = run(batch)
        levels = [
            result_levels(picture.levels, self.family.config.data, direction)
            for picture in pictures
        ]
        if channels == 4:  # alpha was an input: what becomes of it is the network's
            pictures = [replace(picture, alpha=None) for picture in pictures]
        return [
            [result_of(x[i], picture, levels[i], *places[i]) for x in results]
            for i, picture in enumerate(pictures)
        ]

    @contextmanager
    def test_modes(self) -> Iterator[None]:
        """Run networks as for testing within, without gradients, in the precision asked for."""
        networks = self.family.networks.values()
        with (
            evaluating(*networks),
            published_test_mode(*networks) if self.test_mode == "published" else nullcontext(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            yield

    @property
    def drops_out(self) -> bool:
        """Whether dropout is active now; asked within `test_modes`."""
        modules = (m for net in self.family.networks.values() for m in net.modules())
        return any(isinstance(m, torch.nn.Dropout) and m.training for m in modules)

    def _padded(self, images: Tensor, run: Run) -> list[Tensor]:
        """Give images padded to a legal size to `run`, and cut the results back to their own."""
        height, width = images.shape[-2:]
        padded, top, left = pad_to_multiple(images, self.family.multiple, self.family.minimum)
        with self.test_modes():
            results = run(padded)
        return [x[..., top : top + height, left : left + width].float() for x in results]

    def _run(self, images: Tensor, direction: Direction, styles: Tensor | None) -> list[Tensor]:
        """Send legal images through the generator, whole or in tiles, once per style."""
        if styles is None:
            return [self._through(partial(self.family.translate, direction=direction), images)]
        family = self.require_styles()
        # One code for all images, or with a dimension more one for each.
        codes = [code.expand(len(images), -1) for code in styles.to(self.device).unbind(-2)]
        works = [partial(family.translate, direction=direction, styles=code) for code in codes]
        tile = self._tiles.side(works[0], images, self.tile)
        if tile:
            return [self._through(work, images, tile) for work in works]
        content = family.encode_content(images.to(self.device), direction)
        if len(images) > 1:
            return [family.decode(content, code, direction) for code in codes]
        together = max(1, STYLE_PIXELS // images[0, 0].numel())
        parts = torch.cat(codes).split(together)
        decoded = [family.decode(content, part, direction) for part in parts]
        return [*torch.cat(decoded).split(1)]

    def _through(
        self, work: Callable[[Tensor], Tensor], images: Tensor, tile: int | None = None
    ) -> Tensor:
        """Send legal images through `work`, whole or in tiles; `tile` is known already or None."""
        tile = self._tiles.side(work, images, self.tile) if tile is None else tile
        if not tile:
            return work(images.to(self.device))
        if self.drops_out:
            raise UserError(
                f"an image of {images.shape[-1]}x{images.shape[-2]} px goes through in tiles, and "
                "the published test keeps dropout active, which tiles cannot; use --eval"
            )
        return run_tiled(work, images.cpu(), tile=tile, device=self.device)


def _recoded(
    x: Tensor, family: StyleFamily, codes: Tensor, ways: tuple[Direction, Direction]
) -> Tensor:
    there, back = ways
    return family.decode(family.encode_content(x, there), codes, back)
