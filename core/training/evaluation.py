"""Evaluation while training: the same measures as `scripts/evaluate.py`, into the run's log."""

from __future__ import annotations

from pathlib import Path

import torch

from core.errors import UserError
from core.evaluation.image_set import find_evaluation_set
from core.evaluation.model import Evaluator
from core.family import Family, TranslationFamily
from core.inference.translator import Translator
from core.training.run_log import RunLog


class ScheduledEvaluation:
    """Measures a family on the test images of its own data set.

    Args:
        family: its networks are used as they are; the caller applies moving averages.
        device: of the networks.

    Raises:
        UserError: at the start rather than hours later: no test images, a family that does not
            translate, or `checkpoint.best` names what is not measured.
    """

    def __init__(self, family: Family, device: torch.device) -> None:
        if not isinstance(family, TranslationFamily):
            raise UserError(
                f"evaluate.every: {family.name} makes pictures from noise, and translations are "
                "what is measured; set evaluate.every: 0"
            )
        config = family.config
        translator, options = Translator(family, device), config.evaluate
        root = Path(config.data.root)
        test_set = find_evaluation_set(root, translator, max_images=options.max_images)
        self._evaluator = Evaluator(translator, test_set, options)
        self._notes: set[str] = set()
        directions = translator.directions
        names = [f"{m}_{d}" for d in directions for m in self._evaluator.names(d)]
        best = config.checkpoint.best
        if best is not None and best not in names:
            raise UserError(
                f"checkpoint.best: {best} is not measured in this run; one of {', '.join(names)}"
            )

    def measure(self, step: int, log: RunLog) -> dict[str, float]:
        """Measure at `step`; the training's random numbers stay as they were.

        What is wrong with a test image, or with a translation that holds a NaN, is said in the log
        and does not end the training.

        Returns:
            {<measure>_<direction>: finite value}; empty if something was wrong.
        """
        try:
            result = self._evaluator()
        except UserError as error:
            log.message(step, "alarm", f"not evaluated: {error}")
            return {}
        values = result.flat()
        log.measures(step, values)
        for note in result.notes:
            if note not in self._notes:
                log.message(step, "note", note)
        self._notes.update(result.notes)
        log.flush()
        return {name.removeprefix("test_"): value for name, value in values.items()}
