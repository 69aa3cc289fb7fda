"""The training loop of every family: seed, step, schedule, EMA, log, preview, checkpoint, stop."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core import __version__
from core.checkpoints import store
from core.config import refuse_fixed
from core.data.inputs import with_inputs
from core.data.loader import build_loader
from core.data.white import with_white
from core.errors import UserError, reading
from core.family import Batch, Family
from core.runtime import distributed, rng
from core.runtime.distributed import World
from core.runtime.progress import Window, device_name, peak_memory_bytes
from core.runtime.signals import StopRequest, stop_requests
from core.runtime.waiting import on_main
from core.training.alarms import Alarms
from core.training.best import Best
from core.training.calendar import Calendar
from core.training.ema import Ema
from core.training.evaluation import ScheduledEvaluation
from core.training.exhaustion import ran_out
from core.training.guard import NonfiniteGuard, StepFlag
from core.training.initial import Initial
from core.training.objective import EpochObjective
from core.training.optimizers import load_moments
from core.training.preview import Preview
from core.training.run_folder import clear_checkpoints, write_config
from core.training.run_lock import RunLock
from core.training.run_log import RunLog
from core.training.schedule import Schedule
from core.training.sizes import fitted
from core.training.speed import told
from core.training.step import Stepper
from core.training.stop import StopAgreement
from core.training.trackers import require_packages


class Trainer:
    """Trains one family in one run folder.

    Args:
        kind: the family; built here, after seeding, so that a seed gives its initial weights.
        config: its options.
        run_dir: the run folder: config.yaml, checkpoints/, samples/, tensorboard/, log.jsonl,
            index.html.
        world: this process's place.
        resume: state of a checkpoint to go on from (`core.checkpoints.store.load`), or None.
        initial: weights to begin with instead of random ones, or None.
    """

    def __init__(
        self,
        kind: type[Family],
        config: Any,
        run_dir: Path,
        world: World | None = None,
        resume: dict[str, Any] | None = None,
        initial: Initial | None = None,
    ) -> None:
        self.config, self.run_dir, self.world = config, run_dir, world or World()
        self.device = self.world.device
        self.stopped_by = ""
        """The request that ended `train` early: "Ctrl-C", "SIGTERM", or nothing."""
        if resume is not None and "optimizers" not in resume:
            raise UserError(
                "the checkpoint was converted and has no optimizers to resume with; begin a run "
                "with its weights: --init CHECKPOINT --config FILE"
            )
        require_packages(config.log.trackers)
        rng.seed_all(config.train.seed, deterministic=config.train.deterministic)
        config = with_white(config, kind.layout, resume and resume["config"])
        config = with_inputs(config)
        self.family = family = kind.build(config)
        # A family completes its options by what only the data tells, e.g. a vocabulary.
        self.config = config = family.config
        self.taken = initial.give(family) if initial is not None else []
        """What became of the weights to begin with, and what speed takes, a line each."""
        self.step = 0
        self._seconds_before, self._started = 0.0, time.perf_counter()
        train = config.train
        self.stepper = Stepper(family, train, self.device)
        self.taken.append(told(self.stepper.options, self.device))
        self.ema = Ema({n: family.networks[n] for n in family.ema_networks}, train.ema_decay)
        self._open_data()
        self._objective = EpochObjective(family)
        self._whole_step, self._saved_step = True, -1
        self.best = None if config.checkpoint.best is None else Best(config.checkpoint.best)
        self.guard = NonfiniteGuard(run_dir, self.world.rank, train.max_nonfinite_steps)
        # From here on each process draws its own noise.
        rng.seed_all(train.seed + self.world.rank, deterministic=train.deterministic)
        if resume is not None:
            self._load(resume)
        self._open_run_folder()

    def _open_data(self) -> None:
        """Open the data, on which the lengths of epochs and so of the training depend."""
        config, family = self.config, self.family
        train = config.train
        self.by_step = train.num_steps is not None
        hold = train.num_steps if train.num_steps is not None else train.num_epochs
        decay = train.num_steps_decay if self.by_step else train.num_epochs_decay
        self.schedule = Schedule(list(family.optimizers.values()), config.optim, hold, decay)
        self.loader = build_loader(
            config.data,
            layout=family.layout,
            split="train",
            channels=config.channels,
            batch_size=train.images_per_step,
            seed=train.seed,
            rank=self.world.rank,
            world_size=self.world.size,
            pin_memory=self.device.type == "cuda",
        )
        self.num_steps = (hold + decay) * (1 if self.by_step else self.loader.batches_per_epoch)
        unit = "steps" if self.by_step else "epochs"
        self.plan = (
            f"{config.name}: {self.num_steps:,} steps in all; {hold:,} {unit} at the full rate, "
            f"{decay:,} of decay"
        )
        """What the options ask for, for a person."""
        self.calendar = Calendar(config, self.loader.batches_per_epoch)

    def _open_run_folder(self) -> None:
        """Lock the folder, bring what it holds to the present step, and get ready to write."""
        self._lock = RunLock(self.run_dir, self.world)
        if self.world.is_main:
            write_config(self.config, self.run_dir)
        many = f"{self.world.size} x " if self.world.size > 1 else ""
        about = {"num_steps": self.num_steps, "device": many + device_name(self.device)}
        folder = self.run_dir if self.world.is_main else None
        self.log = RunLog(folder, self.step, self.config, **about)
        self.alarms = Alarms()
        if self.config.evaluate.every:
            self.evaluation = ScheduledEvaluation(self.family, self.world)
        if not self.world.is_main:
            return
        self.log.record(self.step, "notice", "; ".join(line.strip() for line in self.taken))
        clear_checkpoints(self.run_dir, self.step, self.log)
        self.preview = Preview(self.family, self.config, self.run_dir, self.stepper, self.alarms)
        self.preview.gallery.resume(self.step)

    # -- the loop ---------------------------------------------------------------------------

    def train(self) -> bool:
        """Train to the end, or until Ctrl-C or SIGTERM.

        Returns:
            True if the training is complete, False if it was stopped; a checkpoint of the last
            step exists either way.

        Raises:
            UserError: too many non-finite steps in a row, unreadable data, a full disk, too little
                memory; a checkpoint of the last whole step is written where there can be one.
        """
        bar = tqdm(
            total=self.num_steps,
            initial=self.step,
            desc=self.config.name,
            unit="it",
            dynamic_ncols=True,
            disable=not self.world.is_main,
        )
        with stop_requests() as stop, bar, self._lock:
            try:
                self._loop(bar, stop)
            except Exception as error:
                self._rescue()
                if (reason := ran_out(error)) is None:
                    raise
                raise UserError(f"{self.run_dir}: {reason}") from None
            finally:
                self.log.close()
                self.loader.close()
        self.stopped_by = "" if self.complete else stop.name
        return self.complete

    @property
    def complete(self) -> bool:
        """Whether all steps are done, or `train.stop_after` has ended the training."""
        patience = self.config.train.stop_after
        gave_up = self.best is not None and patience is not None and self.best.stale >= patience
        return self.step >= self.num_steps or gave_up

    def _rescue(self) -> None:
        """Save the last whole step of a training that fails, unless that is what failed."""
        # Several processes save together, and the others may be waiting in the middle of a step.
        if self._whole_step and self._saved_step != self.step and self.world.size == 1:
            with contextlib.suppress(UserError):
                self.save()

    def _loop(self, bar: Any, stop: StopRequest) -> None:
        options, evaluate_every = self.config.log, self.config.evaluate.every
        due, begin = self.calendar, self.step
        previews = bool(options.samples_every or options.samples_every_epochs)
        if self.step == 0 and previews:
            self._preview()
        self._started = time.perf_counter()
        if self.best is not None and due.evaluation(begin) and self.best.evaluated < begin:
            self._evaluate()  # which a kill after the checkpoint has prevented
        window = Window(self.step)
        pending: StepFlag | None = None
        batches = iter(self.loader)
        stopping = StopAgreement(stop, self.step, self.device)
        while not self.complete and not stopping(self.step):
            self._advance_schedule()
            with window.waiting():
                batch = next(batches)
            batch = fitted(batch, self.family, self.config.data)
            flying = self._train_step(batch)
            # Read the flag of the step before on a GPU: its own would wait for the whole queue.
            self._check_flag(pending if self.device.type == "cuda" else flying)
            pending = flying if self.device.type == "cuda" else None
            bar.update()
            if self.step % options.every == 0 or self.step == self.num_steps:
                self._log_window(window, bar)
                window = Window(self.step)
            if due.samples(self.step):
                self._preview()
            if due.checkpoint(self.step):
                self.save()
            if due.evaluation(self.step):
                self._evaluate()
        self._check_flag(pending)
        if self._saved_step != self.step:
            self.save()
        if previews and not due.samples(self.step):
            self._preview()
        # Not after a stop: whoever asked for it waits.
        if evaluate_every and self.step % evaluate_every and self.step >= self.num_steps > begin:
            self._evaluate()

    def _train_step(self, batch: Batch) -> StepFlag:
        self._whole_step = False
        terms = self.stepper(batch, self.step)
        self.ema.update()
        self.step += 1
        self._whole_step = True
        self.log.add(terms)
        if self.config.optim.policy == "plateau":
            self._objective.add(terms)
        return StepFlag.send(self.step, batch, self.stepper.update.skipped, terms)

    def _advance_schedule(self) -> None:
        plateau = self.config.optim.policy == "plateau"  # its patience is counted in epochs
        position = self.step + 1 if self.by_step and not plateau else self.loader.epoch + 1
        if position != self.schedule.position:
            metric = self._objective.mean() if plateau and self.step else None
            self.schedule.advance(position, metric)

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of the training loop so far, that of the runs resumed from included."""
        return self._seconds_before + time.perf_counter() - self._started

    def _check_flag(self, flag: StepFlag | None) -> None:
        if flag is None or not self.guard.check(flag, self.log):
            return
        self.save()
        raise UserError(
            f"{self.run_dir}: loss or gradient not finite for {self.guard.in_a_row} steps in a "
            f"row, last at step {flag.step}; weights are as before them. Lower optim.lr, set "
            "train.clip_grad_norm, or use train.precision=fp32, then --resume"
        )

    # -- records ----------------------------------------------------------------------------

    def _log_window(self, window: Window, bar: Any) -> None:
        means = self.log.means()
        steps_per_second, wait = window.finish(self.step)
        images = self.config.train.images_per_step * self.world.size
        progress = {
            "epoch": float(self.loader.epoch),
            "lr": self.schedule.rate,
            "steps_per_second": steps_per_second,
            "images_per_second": steps_per_second * images,
            "data_wait_share": wait,
            "elapsed_seconds": self.elapsed_seconds,
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }
        self.log.scalars(self.step, means, progress)
        shown = {name: f"{value:.3g}" for name, value in list(means.items())[:4]}
        bar.set_postfix({**shown, "wait": f"{wait:.0%}"})
        for text in self.alarms.check_losses(means):
            self.log.message(self.step, "alarm", text)

    def _preview(self) -> None:
        def draw() -> None:
            with self.ema.applied():
                self.preview.draw(self.step, self.log)

        on_main(draw)

    def _evaluate(self) -> None:
        with self.ema.applied():
            found = self.evaluation.measure(self.step, self.log)
        if self.world.is_main:
            self.preview.gallery.write()
        if self.best is None:
            return
        value = distributed.from_main(found.get(self.best.measure, math.nan), self.device)
        if math.isnan(value):
            return
        # What was found belongs to the checkpoint of this step, also if that is there already.
        if self.best.take(self.step, value) or self._saved_step == self.step:
            self.save()

    # -- checkpoints ------------------------------------------------------------------------

    def _checkpoint_path(self) -> Path:
        return store.step_path(self.run_dir / "checkpoints", self.step)

    def save(self) -> Path:
        """Write a checkpoint of the present step; every process takes part."""
        family = self.family
        local = {
            "rng": rng.get_state(self.device),
            "ways": self.stepper.ways,
            "state": {name: item.state_dict() for name, item in family.state.items()},
        }
        locals_ = distributed.gather_states(local, self.world)
        path, scaler = self._checkpoint_path(), self.stepper.scaler
        if self.world.is_main:
            state = {
                "version": __version__,
                "family": family.name,
                "config": self.config.model_dump(mode="json"),
                "step": self.step,
                "elapsed_seconds": self.elapsed_seconds,
                "networks": {n: net.state_dict() for n, net in family.networks.items()},
                "ema": self.ema.state_dict(),
                "optimizers": {n: opt.state_dict() for n, opt in family.optimizers.items()},
                "schedule": self.schedule.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else {},
                "loader": self.loader.state_dict(),
                "objective": self._objective.state_dict(),
                "nonfinite_in_a_row": self.guard.in_a_row,
                "best": self.best.state_dict() if self.best is not None else None,
                "local": locals_,
            }
            store.save(state, path)
            best_at = self.best.at if self.best is not None else lambda _: None
            store.prune(path, self.config.checkpoint.keep_last, self.calendar.kept, best_at)
            self.log.flush()
        self._saved_step = self.step
        distributed.barrier()
        return path

    def _load(self, state: dict[str, Any]) -> None:
        family = self.family
        refuse_fixed(self.config, state["config"], "the checkpoint")
        for name, network in family.networks.items():
            own = state["networks"].get(name, {})
            store.load_network(network, own, name, "the checkpoint")
        with reading("the checkpoint's average of the weights"):
            self.ema.load_state_dict(state["ema"])
        for name, optimizer in family.optimizers.items():
            with reading(f"the checkpoint's optimizer {name}"):
                load_moments(optimizer, state["optimizers"][name])
        with reading("the checkpoint's schedule"):
            self.schedule.load_state_dict(state["schedule"])
        if (scaler := self.stepper.scaler) is not None and state["scaler"]:
            with reading("the checkpoint's gradient scaler"):
                scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(state["loader"])
        self.step, self._seconds_before = state["step"], state["elapsed_seconds"]
        if self.step > self.num_steps:
            raise UserError(
                f"the checkpoint is of step {self.step:,}, but these options ask for "
                f"{self.num_steps:,} steps in all; raise train.num_steps (or the epochs)"
            )
        with reading("the checkpoint's objective"):
            self._objective.load_state_dict(state["objective"], self.device)
        self.guard.in_a_row = state["nonfinite_in_a_row"]
        if self.best is not None:
            with reading("the checkpoint's best step"):
                self.best.load_state_dict(state.get("best"))
        if len(state["local"]) != self.world.size:
            raise UserError(
                f"the checkpoint was written by {len(state['local'])} process(es), this run has "
                f"{self.world.size}; an exact resume needs the same number"
            )
        local = state["local"][self.world.rank]
        for name, item in family.state.items():
            with reading(f"the checkpoint's {name}"):
                item.load_state_dict(local["state"][name])
        with reading("the checkpoint's random state"):
            rng.set_state(local["rng"], self.device)
        self.stepper.ways = local.get("ways", {})
        if store.verify(self._checkpoint_path()) is None:
            self._saved_step = self.step
