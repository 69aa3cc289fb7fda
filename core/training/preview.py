"""What a training shows of itself now and then: its sample grid, and signs of its health."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from core.data.loader import fixed_batch
from core.errors import UserError
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.family import (
    Family,
    GenerativeFamily,
    ImageBatch,
    PreviewedFamily,
    SampleBatch,
    StyleFamily,
    TranslationFamily,
)
from core.nn.modes import evaluating, published_test_mode
from core.options import Direction
from core.report.gallery import FILM, RunGallery
from core.report.looks import Look
from core.report.pictures import grid, save_gif, save_png, shown, square_columns
from core.training.alarms import Alarms
from core.training.run_log import RunLog
from core.training.sizes import fitted
from core.training.step import Stepper

NUM_STYLES = 4
"""Styles whose distances are logged as diversity: six pairs for each input."""
NUM_NOISES = 8
"""With captions, samples drawn of each; the same noises serve every caption."""
MAX_FRAMES = 200
"""Frames of the GIF; of more previews they are an even choice, the newest always among them."""
FRAME_MILLISECONDS = 200


class Preview:
    """Draws the sample grid of a run, checks the pictures, and measures how much they differ.

    Args:
        family: its networks are used as they are; the caller applies moving averages.
        config: the run's options.
        run_dir: the run folder; grids go to `samples/` and into its page.
        stepper: whose device and layout the networks have.
        alarms: what the pictures are checked by.
    """

    def __init__(
        self, family: Family, config: Any, run_dir: Path, stepper: Stepper, alarms: Alarms
    ) -> None:
        self._family, self._config, self._run_dir = family, config, run_dir
        self._device, self._alarms = stepper.device, alarms
        for channels in config.channels:  # whatever draws later would meet the same refusal
            shown(torch.empty(channels, 1, 1), config.log.bands)
        batch = fixed_batch(
            config.data,
            layout=family.layout,
            channels=config.channels,
            num_images=config.log.num_samples,
        )
        self.batch = stepper.placed(fitted(batch, family, config.data))
        self.gallery = RunGallery(run_dir)

    def draw(self, step: int, log: RunLog) -> None:
        """Draw, check and measure at `step`; the training's random numbers stay as they were."""
        networks = self._family.networks.values()
        # The generators' noise (dropout) must not depend on when one looks.
        devices = [self._device] if self._device.type == "cuda" else []
        with evaluating(*networks), torch.random.fork_rng(devices), self._eagerly():
            if isinstance(self._family, GenerativeFamily):
                image = self._draw_samples(self._family, step, log)
            else:
                with published_test_mode(*networks):
                    image = self._draw_columns(cast("PreviewedFamily", self._family), step, log)
        path = self._run_dir / "samples" / f"step_{step:08d}.png"
        save_png(image, path)
        log.picture(step, "samples", image)
        log.flush()
        self.gallery.add(step, path)
        if isinstance(self._family, GenerativeFamily):
            self._write_gif()
        self.gallery.write()

    def _eagerly(self) -> contextlib.AbstractContextManager[object]:
        """A few pictures are not worth graphs of their own, without gradients and in eval mode."""
        compiled = self._config.train.compile
        return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()

    # -- families that translate, or show a batch otherwise ---------------------------------

    def _draw_columns(self, family: PreviewedFamily, step: int, log: RunLog) -> Image.Image:
        seen = family.preview(self.batch)
        columns = {label: self._look(label).row(x) for label, x in seen.items()}
        if isinstance(family, TranslationFamily):
            self._check_translations(family, step, log)
        if isinstance(family, StyleFamily):
            self._measure_diversity(family, step, log)
        return grid(columns, max_rows=self._config.log.num_samples)

    def _look(self, label: str) -> Look:
        """Return the look of a column such as `fake_B`, whose A and B are the model's."""
        data, bands = self._config.data, self._config.log.bands
        if label[-1] not in "AB":
            return Look(bands=bands)
        straight = data.direction == "AtoB"
        return Look.of(data, "A" if (label[-1] == "A") == straight else "B", bands)

    def _inputs(self, direction: Direction) -> Tensor:
        if isinstance(self.batch, SampleBatch):
            return self.batch.images
        fixed = cast("ImageBatch", self.batch)
        return fixed.a if direction == self._config.data.direction else fixed.b

    def _check_translations(self, family: TranslationFamily, step: int, log: RunLog) -> None:
        for direction in family.directions:
            inputs = self._inputs(direction)
            translated = family.translate(inputs, direction)
            for text in self._alarms.check_pictures(direction, inputs, translated):
                log.message(step, "alarm", text)

    def _measure_diversity(self, family: StyleFamily, step: int, log: RunLog) -> None:
        """Distances between translations of the fixed inputs with the same few styles."""
        styles = family.random_styles(NUM_STYLES, torch.Generator().manual_seed(0))
        measures = {}
        for direction in family.directions:
            inputs = self._inputs(direction)
            content = family.encode_content(inputs, direction)
            outputs = torch.stack(
                [
                    family.decode(content, style.to(inputs).expand(len(inputs), -1), direction)
                    for style in styles
                ]
            ).float()
            measures[f"diversity_{direction}"] = float(pixel_distance(outputs))
            measures[f"diversity_features_{direction}"] = float(feature_distance(outputs))
            for text in self._alarms.check_diversity(direction, measures[f"diversity_{direction}"]):
                log.message(step, "alarm", text)
        log.measures(step, measures)

    # -- families that generate -------------------------------------------------------------

    def _draw_samples(self, family: GenerativeFamily, step: int, log: RunLog) -> Image.Image:
        """The same noise (a function of the seed) each time, and with captions the same ones."""
        real = cast("SampleBatch", self.batch)
        generator = torch.Generator().manual_seed(self._config.train.seed)
        number = self._config.log.num_samples
        if family.vocabulary is None:
            images = family.sample(family.random_noise(number, generator).to(self._device))
            columns, outputs = square_columns(images), images[:, None]
        else:
            captions = _spread(real.captions, number // NUM_NOISES)
            noise = family.random_noise(NUM_NOISES, generator).to(self._device)
            columns = {
                caption: family.sample(noise, condition.to(noise).expand(len(noise), -1))
                for caption, condition in zip(
                    captions, family.vocabulary.encode(captions), strict=True
                )
            }
            outputs = torch.stack([*columns.values()], dim=1)  # [noises, captions, C, H, W]
        if len(outputs) > 1 and len(real.images) > 1:
            distance = float(pixel_distance(outputs.float()))
            between_real = float(pixel_distance(real.images[:, None].float()))
            log.measures(step, {"diversity": distance, "diversity_real": between_real})
            for text in self._alarms.check_samples(distance, between_real):
                log.message(step, "alarm", text)
        return grid(columns, max_rows=number, labels=family.vocabulary is not None)

    def _write_gif(self) -> None:
        """All grids so far, in order; those that a resume has undone are not among them."""
        listed = self.gallery.samples
        stride = math.ceil(len(listed) / MAX_FRAMES)
        frames = []
        for sample in listed[::-1][::stride][::-1]:
            if (sample.width, sample.height) == (listed[-1].width, listed[-1].height):
                try:
                    with Image.open(self._run_dir / sample.path) as image:
                        frames.append(image.convert("RGB"))
                except OSError:  # deleted by hand: the others still make a film
                    continue
        if not frames:
            raise UserError(f"{self._run_dir / 'samples'}: no sample grid can be read back")
        save_gif(frames, self._run_dir / FILM, FRAME_MILLISECONDS)


def _spread(captions: tuple[str, ...], number: int) -> list[str]:
    """Different captions, as evenly over the list as can be."""
    distinct = list(dict.fromkeys(captions))
    number = max(1, min(number, len(distinct)))
    return [distinct[i * len(distinct) // number] for i in range(number)]
