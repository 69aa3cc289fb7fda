"""Evaluation while training: the same measures as `scripts/evaluate.py`, into the run's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.evaluation.image_set import find_evaluation_set
from core.evaluation.model import Evaluator
from core.evaluation.share import Share
from core.family import Family, TranslationFamily
from core.inference.translator import Translator
from core.runtime import distributed
from core.runtime.distributed import World
from core.runtime.waiting import on_main
from core.training.run_log import RunLog

Measured = dict[str, float]


class ScheduledEvaluation:
    """Measures a family on the test images of its own data set.

    Args:
        family: its networks are used as they are; the caller applies moving averages.
        world: this process and its device; every process measures a part of the images.

    Raises:
        UserError: at the start rather than hours later: no test images, a family that does not
            translate, or `checkpoint.best` names what is not measured.
    """

    def __init__(self, family: Family, world: World) -> None:
        if not isinstance(family, TranslationFamily):
            raise UserError(
                f"evaluate.every: {family.name} makes pictures from noise, and translations are "
                "what is measured; set evaluate.every: 0"
            )
        config = family.config
        translator, options = Translator(family, world.device), config.evaluate
        root = Path(config.data.root)
        test_set = find_evaluation_set(root, translator, max_images=options.max_images)
        self._evaluator = Evaluator(translator, test_set, options)
        self._world = world
        self._notes: set[str] = set()
        directions = translator.directions
        names = [f"{m}_{d}" for d in directions for m in self._evaluator.names(d)]
        best = config.checkpoint.best
        if best is not None and best not in names:
            raise UserError(
                f"checkpoint.best: {best} is not measured in this run; one of {', '.join(names)}"
            )

    def measure(self, step: int, log: RunLog) -> Measured:
        """Measure at `step`, every process its part; the training's random numbers stay.

        What is wrong with a test image, or with a translation that holds a NaN, is said in the log
        and does not end the training.

        Returns:
            {<measure>_<direction>: finite value}; empty if something was wrong, and off rank 0.
        """
        parts = distributed.gather_states(self._share(), self._world)
        found: Measured = {}
        # Only rank 0 knows the real pictures' features, which take time where no cache has them.
        on_main(lambda: found.update(self._summarize(step, parts, log)))
        return found

    def _share(self) -> dict[str, Any]:
        """Measure this process's part; return plain containers."""
        try:
            shares = self._evaluator.share(self._world.rank, self._world.size)
        except UserError as error:
            return {"error": str(error)}
        measured = {direction: share.state() for direction, share in shares.items()}
        return {"measured": measured, "notes": list(dict.fromkeys(self._evaluator.notes))}

    def _summarize(self, step: int, parts: Sequence[Mapping[str, Any]], log: RunLog) -> Measured:
        """Put all parts together, and log what they say."""
        try:
            for part in parts:
                if "error" in part:
                    raise UserError(part["error"])
            shares = [{d: Share(**s) for d, s in part["measured"].items()} for part in parts]
            result = self._evaluator.summary(shares)
        except UserError as error:
            log.message(step, "alarm", f"not evaluated: {error}")
            return {}
        values = result.flat()
        log.measures(step, values)
        notes = dict.fromkeys([*result.notes, *(note for part in parts for note in part["notes"])])
        for note in notes:
            if note not in self._notes:
                log.message(step, "note", note)
        self._notes.update(notes)
        log.flush()
        return {name.removeprefix("test_"): value for name, value in values.items()}
