"""The best checkpoint of a run by one measure of its evaluations."""

from __future__ import annotations

from typing import Any

from core.evaluation.scores import is_better


class Best:
    """Which step has been best so far, and how many evaluations have passed since.

    Args:
        measure: `<measure>_<direction>`, e.g. `psnr_AtoB`.

    Attributes:
        evaluated: step of the last evaluation that counted; -1: none yet.
        stale: evaluations since the best one.
    """

    def __init__(self, measure: str) -> None:
        self.measure = measure
        self.evaluated = -1
        self.stale = 0
        self._history: list[tuple[int, float]] = []  # each better than the one before

    def take(self, step: int, value: float) -> bool:
        """Count an evaluation; True if it is the best so far. An equal one is not better."""
        self.evaluated = step
        name = self.measure.rpartition("_")[0]
        better = not self._history or is_better(name, value, self._history[-1][1])
        if better:
            self._history.append((step, value))
        self.stale = 0 if better else self.stale + 1
        return better

    def at(self, step: int) -> int | None:
        """Return the step that was best when the run stood at `step`; None before the first."""
        return next((s for s, _ in reversed(self._history) if s <= step), None)

    def __str__(self) -> str:
        if not self._history:
            return f"{self.measure} was not measured"
        step, value = self._history[-1]
        return f"best {self.measure}: {value:.4g} at step {step:,}"

    def state_dict(self) -> dict[str, Any]:
        """Plain containers; `core.checkpoints.which` reads `history`, [step, value] by turns."""
        history = [list(entry) for entry in self._history]
        return {
            "measure": self.measure,
            "evaluated": self.evaluated,
            "stale": self.stale,
            "history": history,
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint's state; begin anew if it has none, or one of another measure."""
        if state is None or state["measure"] != self.measure:
            return
        self.evaluated, self.stale = state["evaluated"], state["stale"]
        self._history = [(step, value) for step, value in state["history"]]
