"""At which steps a run shows, saves and measures itself."""

from __future__ import annotations

from core.options import RunConfig


class Calendar:
    """What the options ask for after a step.

    Args:
        config: of the run.
        steps_per_epoch: as the loader counts them.
    """

    def __init__(self, config: RunConfig, steps_per_epoch: int) -> None:
        log, checkpoint = config.log, config.checkpoint
        self._samples = (log.samples_every, log.samples_every_epochs * steps_per_epoch)
        self.kept = (checkpoint.keep_every, checkpoint.keep_every_epochs * steps_per_epoch)
        """Checkpoints of multiples of these steps are kept for good; 0: none."""
        self._checkpoints = (checkpoint.every, self.kept[1])
        self._evaluations = (config.evaluate.every,)

    def samples(self, step: int) -> bool:
        """Whether a sample grid is due."""
        return _due(step, self._samples)

    def checkpoint(self, step: int) -> bool:
        """Whether a checkpoint is due."""
        return _due(step, self._checkpoints)

    def evaluation(self, step: int) -> bool:
        """Whether an evaluation is due."""
        return _due(step, self._evaluations)


def _due(step: int, periods: tuple[int, ...]) -> bool:
    return step > 0 and any(period and step % period == 0 for period in periods)
