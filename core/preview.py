"""What a training shows of itself now and then: its sample grid, and signs of its health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.alarms import Alarms
from core.data.loader import fixed_batch
from core.family import Family, StyleFamily, TranslationFamily
from core.gallery import RunGallery
from core.metrics.diversity import feature_distance, pixel_distance
from core.nn.modes import evaluating, published_test_mode
from core.options import Direction
from core.pictures import grid, save_png
from core.run_log import RunLog

NUM_STYLES = 4
"""Styles whose distances are logged as diversity: six pairs for each input."""


class Preview:
    """Draws the sample grid of a run, checks the pictures, and measures how much styles differ.

    Args:
        family: its networks are used as they are; the caller applies moving averages.
        config: the run's options.
        run_dir: the run folder; grids go to `samples/` and into its page.
        device: of the networks.
        alarms: what the pictures are checked by.
    """

    def __init__(
        self, family: Family, config: Any, run_dir: Path, device: torch.device, alarms: Alarms
    ) -> None:
        self._family, self._config, self._run_dir = family, config, run_dir
        self._device, self._alarms = device, alarms
        self._fixed = fixed_batch(
            config.data,
            layout=family.layout,
            channels=config.channels,
            num_images=config.log.num_samples,
        ).to(device, channels_last=config.train.channels_last)
        self.gallery = RunGallery(run_dir)

    def draw(self, step: int, log: RunLog) -> None:
        """Draw, check and measure at `step`; the training's random numbers stay as they were."""
        networks = self._family.networks.values()
        # The generators' noise (dropout) must not depend on when one looks.
        devices = [self._device] if self._device.type == "cuda" else []
        with (
            evaluating(*networks),
            published_test_mode(*networks),
            torch.random.fork_rng(devices),
        ):
            columns = self._family.preview(self._fixed)
            if isinstance(self._family, TranslationFamily):
                self._check_translations(self._family, step, log)
            if isinstance(self._family, StyleFamily):
                self._measure_diversity(self._family, step, log)
        image = grid(columns, max_rows=self._config.log.num_samples)
        path = self._run_dir / "samples" / f"step_{step:08d}.png"
        save_png(image, path)
        log.picture(step, "samples", image)
        log.flush()
        self.gallery.add(step, path)

    def _inputs(self, direction: Direction) -> Tensor:
        same = direction == self._config.data.direction
        return self._fixed.a if same else self._fixed.b

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
