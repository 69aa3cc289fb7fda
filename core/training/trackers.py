"""Where the numbers and pictures of a run go besides its own folder: one small sink each.

TensorBoard drops what it holds of later steps when a run goes back. The others cannot: there a run
that goes back goes on as a new run of the same group, so that no curve has two branches.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from core.config import dump_config
from core.errors import UserError
from core.options import RunConfig, TrackerName

PROJECT = "image-translation"
_FILE = "trackers.json"
_PACKAGES = {"trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow"}


@dataclass(frozen=True)
class Piece:
    """What a tracker shows as one run: all steps of a training, or those since it went back.

    Attributes:
        run_dir: the run folder.
        config: its options.
        step: the step that it goes on from.
        id: that it goes by in the tracker; empty for a new one.
    """

    run_dir: Path
    config: RunConfig
    step: int
    id: str = ""

    @property
    def title(self) -> str:
        """For a person."""
        return self.config.name + (f" from step {self.step}" if self.step and not self.id else "")


class Tracker(Protocol):
    """A sink; its constructor takes a `Piece`."""

    id: str
    """Which piece a later process goes on with; empty where it needs none."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by tag, such as `loss/G`; they may be NaN or infinite."""

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Take an RGB picture."""

    def flush(self) -> None:
        """Hand everything to the operating system."""

    def close(self) -> None:
        """Write what is left and release the files."""


class TensorBoard:
    """Event files in `tensorboard/` of the run folder."""

    id = ""

    def __init__(self, piece: Piece) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (only when training)

        self._writer = SummaryWriter(str(piece.run_dir / "tensorboard"), purge_step=piece.step + 1)
        if not piece.step:
            text = dump_config(piece.config)
            self._writer.add_text("config", f"```yaml\n{text}```")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        """See `Tracker`."""
        self._writer.add_image(tag, np.asarray(image), step, dataformats="HWC")

    def flush(self) -> None:
        """See `Tracker`."""
        self._writer.flush()

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class _Wandb:
    """Weights & Biases; `WANDB_MODE=offline` keeps everything in the run folder."""

    def __init__(self, piece: Piece) -> None:
        import wandb  # noqa: PLC0415

        self._wandb, self.id = wandb, piece.id or secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=piece.title,
            group=piece.config.name,
            id=self.id,
            resume="allow",
            config=piece.config.model_dump(mode="json"),
            dir=str(piece.run_dir),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        self._run.log({tag: self._wandb.Image(image)}, step=step)

    def flush(self) -> None:
        pass  # a process of its own writes as it goes

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """Trackio, on this machine or in the Space that `TRACKIO_SPACE_ID` names."""

    def __init__(self, piece: Piece) -> None:
        import trackio  # noqa: PLC0415

        # It knows runs by their names.
        self._trackio, self.id = trackio, piece.id or f"{piece.title} {secrets.token_hex(2)}"
        self._run = trackio.init(
            PROJECT,
            name=self.id,
            group=piece.config.name,
            config=piece.config.model_dump(mode="json"),
            resume="allow",
            embed=False,
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        self._run.log({tag: self._trackio.Image(image)}, step=step)

    def flush(self) -> None:
        pass  # a thread of its own writes as it goes

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    """MLflow at `MLFLOW_TRACKING_URI`, by default in `mlflow/` of the run folder."""

    def __init__(self, piece: Piece) -> None:
        # Refused without this since version 3.7; a folder needs no server and no database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        import mlflow  # noqa: PLC0415

        local = (piece.run_dir / "mlflow").resolve().as_uri()
        self._mlflow = mlflow
        self._client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", local))
        self.id = piece.id
        if not self.id:
            name = piece.config.name
            known = self._client.get_experiment_by_name(name)
            number = known.experiment_id if known else self._client.create_experiment(name)
            self.id = self._client.create_run(number, run_name=piece.title).info.run_id
            tree = piece.config.model_dump(mode="json")
            self._client.log_dict(self.id, tree, "config.json")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now, metric = int(1000 * time.time()), self._mlflow.entities.Metric
        metrics = [metric(tag, value, now, step) for tag, value in values.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        self._client.log_image(self.id, image, artifact_file=f"{tag}/step_{step:08d}.png")

    def flush(self) -> None:
        pass  # each call writes

    def close(self) -> None:
        self._client.set_terminated(self.id)


_KINDS: dict[TrackerName, Callable[[Piece], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
    "mlflow": _MLflow,
}


def require_packages(names: Sequence[TrackerName]) -> None:
    """Refuse trackers whose package is not there.

    Raises:
        UserError: names the first, and what installs it.
    """
    for name in names:
        package = _PACKAGES.get(name)
        if package and importlib.util.find_spec(package) is None:
            raise UserError(f"log.trackers: {name} is not installed: pip install -e '.[{name}]'")


class Trackers:
    """All trackers of a run as one. One that fails says so once, and is left out from there on.

    Args:
        run_dir: the run folder.
        config: its options.
        step: the step that is resumed from.
        warn: takes a step and a line.

    Raises:
        UserError: a tracker cannot begin, as without a login.
    """

    def __init__(
        self, run_dir: Path, config: RunConfig, step: int, warn: Callable[[int, str], None]
    ) -> None:
        self._file, self._warn = run_dir / _FILE, warn
        self._pieces = _read_pieces(self._file)
        self._open: dict[str, Tracker] = {}
        for name in dict.fromkeys(config.log.trackers):
            id_, last = self._pieces.get(name, ("", -1))
            piece = Piece(run_dir, config, step, id_ if last <= step else "")
            try:
                self._open[name] = _KINDS[name](piece)
            except Exception as error:
                raise UserError(f"log.trackers: {name} cannot begin: {_reason(error)}") from error
        self._remember(step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._each(step, lambda tracker: tracker.scalars(step, values))
        self._remember(step)

    def picture(self, step: int, tag: str, image: Image.Image) -> None:
        """See `Tracker`."""
        self._each(step, lambda tracker: tracker.picture(step, tag, image))

    def flush(self, step: int) -> None:
        """See `Tracker`."""
        self._each(step, lambda tracker: tracker.flush())

    def close(self, step: int) -> None:
        """See `Tracker`."""
        self._each(step, lambda tracker: tracker.close())

    def _each(self, step: int, do: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            try:
                do(tracker)
            except Exception as error:  # whatever is wrong there, the training goes on
                del self._open[name]
                self._warn(step, f"{name} is left out from here on: {_reason(error)}")

    def _remember(self, step: int) -> None:
        """Write down how far each piece is, for a later process."""
        self._pieces |= {name: (each.id, step) for name, each in self._open.items() if each.id}
        if self._pieces:
            with suppress(OSError):  # then a resume begins a new piece
                self._file.write_text(json.dumps(self._pieces))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0]}"


def _read_pieces(file: Path) -> dict[str, tuple[str, int]]:
    """Read {tracker: (id, last step)}; what cannot be read counts as nothing."""
    try:
        return {
            str(k): (str(i), int(step)) for k, (i, step) in json.loads(file.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
