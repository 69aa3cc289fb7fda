"""Turn an entry of a comparison into a method that translates; train it first if need be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from core.checkpoints import store
from core.checkpoints.which import choose
from core.compare.config import Config, Entry, slug
from core.compare.cost import Cost, Loaded, Source
from core.compare.folder_method import FolderMethod
from core.compare.style_method import StyleMethod
from core.config import load_config
from core.errors import UserError, reading
from core.evaluation.image_set import EvaluationSet
from core.evaluation.scores import Evaluation, Measure, Scores
from core.family import Family, FamilyTable
from core.inference.loading import load_translator
from core.report.run_record import RunRecord, read_record
from core.runtime import distributed
from core.runtime.processes import run_in_subprocess
from core.stylizer import Stylizer
from core.training.trainer import Trainer

Stylizers = Mapping[str, type[Stylizer]]


@dataclass(frozen=True)
class Training:
    """What a run says of itself."""

    steps: int
    """Done at the checkpoint."""
    seconds: float | None
    """Wall time of them, interrupted pieces added up; None where not recorded."""
    peak_memory_bytes: float | None
    """None where not recorded."""
    record: RunRecord


@dataclass
class Method:
    """One entry and what was found of it, or what keeps it from being compared."""

    name: str
    source: Source | None = None
    """How to load it; None of pictures that are there, and like all below if that failed."""
    translator: Loaded | FolderMethod | None = None
    """None also for published figures."""
    training: Training | None = None
    """None also for style methods and converted checkpoints."""
    cost: Cost | None = None
    evaluation: Evaluation | None = None
    problems: list[str] = field(default_factory=list)
    """What is wrong or missing, one sentence each."""

    @property
    def slug(self) -> str:
        """The name as part of file names."""
        return slug(self.name)

    @property
    def kind(self) -> Literal["translator", "styles", "style method", ""]:
        """Whether it gives an input one translation, many, or translates by examples alone."""
        if self.translator is None:
            return ""
        if isinstance(self.translator, StyleMethod):
            return "style method"
        return "styles" if self.translator.has_styles else "translator"


def _train(kind: type[Family], config: Any, run_dir: Path, device: str) -> bool:
    """Train from the start or the newest intact checkpoint; return whether it is finished."""
    world = distributed.start(device)
    return Trainer(kind, config, run_dir, world, store.newest(run_dir)).train()


def _finished(state: Mapping[str, Any]) -> bool:
    """Return whether a run's checkpoint is that of its last step."""
    train, best = state["config"]["train"], state.get("best")
    if train.get("stop_after") is not None and best and best["stale"] >= train["stop_after"]:
        return True
    if train["num_steps"] is not None:
        return bool(state["step"] >= train["num_steps"] + train["num_steps_decay"])
    return bool(state["loader"]["epoch"] >= train["num_epochs"] + train["num_epochs_decay"])


def _read_run(file: Path, method: Method, which: str) -> None:
    """Read what the checkpoint and the log beside it say of the training."""
    state = store.load(file)
    if "optimizers" not in state:
        return  # converted: who trained it, how long, is not known
    with reading(f"{file}: its options"):
        finished = _finished(state)
    if not finished and which == "last":
        method.problems.append(f"unfinished: stopped at step {state['step']:,}")
    record = read_record(file.parent.parent / "log.jsonl")
    record.forget(state["step"] + 1)
    memory = record.peak_memory_bytes or None
    method.training = Training(state["step"], state.get("elapsed_seconds"), memory, record)


def _is_complete(run_dir: Path, config: Any) -> bool:
    """Return whether the run folder holds this training to its end."""
    state = store.newest(run_dir)
    if state is None or "optimizers" not in state:
        return False
    return _finished({**state, "config": config.model_dump(mode="json")})


def _published(entry: Entry) -> Evaluation:
    """Return figures of a paper as if they had been measured; of how many images is not known."""
    scores: dict[str, Scores] = {
        direction: Scores(0, 0, {name: Measure.of(name, value) for name, value in figures.items()})
        for direction, figures in (entry.published or {}).items()
    }
    return Evaluation(scores, (f"{entry.name}: figures of {entry.source}",))


def prepare(
    entry: Entry,
    config: Config,
    test_set: EvaluationSet,
    families: FamilyTable,
    stylizers: Stylizers,
    device: str,
) -> Method:
    """Load an entry, after training it if need be; what goes wrong is said in the result.

    Raises:
        KeyboardInterrupt: a training was stopped; the same call goes on with it.
    """
    method = Method(entry.name)
    if entry.published:
        method.evaluation = _published(entry)
        return method
    try:
        if entry.folder:
            method.translator = FolderMethod(entry.folder, test_set)
            return method
        place = distributed.start(device).device
        start = Path(entry.checkpoint) if entry.checkpoint is not None else None
        table, own = {**families, **stylizers}, None
        if entry.config is not None:
            own = load_config(entry.config, table, entry.set)
        if own is not None and own.family in stylizers:
            if entry.run is not None:
                raise UserError(f"run: {entry.run}: {own.family} is not trained; leave it out")
            kind = stylizers[own.family]
            method.source = partial(StyleMethod.build, kind, own, place, test_set)
        elif own is not None:
            start = Path(entry.run) if entry.run else Path("runs") / config.name / method.slug
            if not _is_complete(start, own):
                run_in_subprocess(_train, families[own.family], own, start, device)
        if start is not None:
            file, damaged = store.find(choose(start, entry.which))
            method.problems += [f"damaged: {line}" for line in damaged]
            _read_run(file, method, entry.which)
            speed = config.inference.speed
            method.source = partial(load_translator, file, dict(families), place, speed=speed)
        assert method.source is not None, "an entry has a config or a checkpoint"
        method.translator = method.source()
    except UserError as error:
        method.problems.append(str(error))
    return method
