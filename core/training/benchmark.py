"""Speed as a ratio of two paths measured in one run; never a timed test."""

from __future__ import annotations

import multiprocessing
import operator
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from core.config import validate
from core.data.folders import find_paired, find_unpaired
from core.data.loader import Loader, build_loader
from core.data.single import find_domain
from core.errors import UserError
from core.family import Family, Layout
from core.runtime import rng
from core.runtime.distributed import World
from core.runtime.progress import Window, peak_memory_bytes
from core.training.sizes import fitted
from core.training.speed import has_fast_bf16
from core.training.step import Stepper

PLAIN = ("precision=fp32", "compile=false", "speed=off")
"""Train options of the plain path: none of the arrangements for speed."""
FAST = ("speed=auto",)
"""Train options of the fast path: what is taken where nobody says anything."""
_WARM_UP = 2


def _with(config: Any, settings: Sequence[str]) -> Any:
    """The config with train options changed."""
    tree = config.model_dump(mode="json")
    for setting in settings:
        key, _, value = setting.removeprefix("train.").partition("=")
        tree["train"][key] = {"true": True, "false": False}.get(value, value)
    return validate(type(config), tree, source="--fast")


class _Path:
    """One way of training, with its own networks from the same seed and its own batches."""

    def __init__(self, kind: type[Family], config: Any, world: World) -> None:
        train = config.train
        rng.seed_all(train.seed)
        family = kind.build(config)
        self.round: int = getattr(family, "steps_per_round", 1)
        """Steps of one kind differ in what they update: only whole rounds compare."""
        self.device = world.device
        self.stepper = Stepper(family, train, world.device)
        self.step = 0
        self._fit = (family, config.data)
        self.loader: Loader = build_loader(
            config.data,
            layout=kind.layout,
            split="train",
            channels=config.channels,
            batch_size=train.images_per_step,
            seed=train.seed,
            pin_memory=world.device.type == "cuda",
        )

    def measure(self, rounds: int) -> dict[str, float]:
        """Seconds per step and data-wait share."""
        seconds, wait, _ = self.run(rounds * self.round)
        return {"seconds_per_step": seconds, "data_wait_share": wait}

    def run(self, steps: int) -> tuple[float, float, dict[str, float]]:
        """Seconds per step, data-wait share, and each term of the last step that had it."""
        window = Window(0)
        terms: dict[str, torch.Tensor] = {}
        for _ in range(steps):
            with window.waiting():
                batch = next(self.loader)
            terms |= self.stepper(fitted(batch, *self._fit), self.step)
            self.step += 1
        losses = {name: float(value) for name, value in terms.items()}  # waits for the device
        per_second, wait = window.finish(steps)
        return 1 / per_second, wait, losses


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "machine": name or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "fast_bf16": has_fast_bf16(device),
    }


def benchmark_steps(
    kind: type[Family],
    config: Any,
    world: World,
    fast: Sequence[str],
    repeats: int,
    steps: int,
    against: Any = None,
) -> dict[str, Any]:
    """Measure interleaved training steps of two ways to train a family; see `interleaved`.

    Where steps differ in what they update (WGAN's critic and generator), `steps` counts whole
    rounds, and the seconds are the mean of a round's steps.

    Args:
        kind: the family.
        config: its options.
        world: where to train.
        fast: train options of the fast path.
        repeats: turns of each way.
        steps: in a turn.
        against: options to compare with `config`, both on the fast path; None compares the plain
            path with the fast one.

    Returns:
        Medians in seconds per step, the ratio of the first to the second, data-wait shares and
        peak memory.
    """
    if against is None:
        variants = {"plain": _with(config, PLAIN), "fast": _with(config, fast)}
    else:
        variants = {"config": _with(config, fast), "against": _with(against, fast)}
    alone = World(device=world.device)
    starts = {name: partial(_Path, kind, variant, alone) for name, variant in variants.items()}
    found = interleaved(starts, repeats, steps)
    return {"fast_options": list(fast), **machine(world.device), **found}


class Measured(Protocol):
    """One of the ways that `interleaved` compares."""

    device: torch.device

    def measure(self, rounds: int) -> dict[str, float]:
        """Do the work so many times; the first number is the one that the ratio is taken of."""


def interleaved(
    starts: Mapping[str, Callable[[], Measured]], repeats: int, rounds: int
) -> dict[str, Any]:
    """Two ways of doing a thing, by turns.

    Each has a process of its own, which waits while the other works, so that neither profits from
    what the other left behind, and peak memory is its own.

    Args:
        starts: what makes each way; travels by pickle.
        repeats: turns of each.
        rounds: of the work, in a turn.

    Returns:
        The median of every number, its ratio of the first way to the second, and peak memory.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in starts}
    with ExitStack() as stack:
        ways = {}
        for name, start in starts.items():
            # Spawned: a forked process cannot use CUDA.
            context = multiprocessing.get_context("spawn")
            way = ways[name] = stack.enter_context(ProcessPoolExecutor(1, context))
            way.submit(_begin, start).result()
        for _ in tqdm(range(repeats), desc="repeats"):
            for name, way in ways.items():
                found[name].append(way.submit(_measure, rounds).result())
        peaks = {name: way.submit(_peak).result() for name, way in ways.items()}
    quantities = list(next(iter(found.values()))[0])
    common = [q for q in quantities if all(q in turns[0] for turns in found.values())]
    values = {q: {n: [turn[q] for turn in turns] for n, turns in found.items()} for q in common}
    medians = {q: {n: statistics.median(v) for n, v in of.items()} for q, of in values.items()}
    return {
        **medians,
        "all_seconds": values[quantities[0]],
        "ratio": operator.truediv(*medians[quantities[0]].values()),
        "peak_memory_bytes": peaks,
    }


_own: list[Measured] = []
"""The one way of a process that `interleaved` started."""


def _begin(start: Callable[[], Measured]) -> None:
    way = start()
    way.measure(_WARM_UP)
    _own.append(way)


def _measure(rounds: int) -> dict[str, float]:
    return _own[0].measure(rounds)


def _peak() -> float:
    return peak_memory_bytes(_own[0].device)


def benchmark_curves(
    kind: type[Family], config: Any, world: World, fast: Sequence[str], steps: int
) -> dict[str, Any]:
    """Losses of both paths from the same weights on the same batches, step by step.

    Returns:
        Per loss term, the mean over all steps on each path and the mean absolute difference.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    for name, settings in (("plain", PLAIN), ("fast", fast)):
        path = _Path(kind, _with(config, settings), world)
        curves[name] = [path.run(path.round)[2] for _ in tqdm(range(steps), desc=f"{name} curve")]
    result = {}
    for term in curves["plain"][0]:
        plain, quick = (np.array([losses[term] for losses in curves[n]]) for n in curves)
        result[term] = {
            "plain_mean": float(plain.mean()),
            "fast_mean": float(quick.mean()),
            "mean_abs_difference": float(np.abs(plain - quick).mean()),
        }
    return {"steps": steps, "terms": result}


def _files(root: str, layout: Layout) -> tuple[Path, ...]:
    """Image files to decode: those of domain A, or of the one domain."""
    if layout == "paired":
        return find_paired(root, "train").a
    if layout == "unpaired":
        return find_unpaired(root, "train").a
    found = find_domain(root, "train")
    if found.idx:
        raise UserError(f"--loader: {found.files[0]}: has no image files to compare with Pillow")
    return found.files


class _Counter(TorchDispatchMode):
    """Counts the operations that reach torch's kernels, those of the backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count an operation, and do it."""
        self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


def count_operations(kind: type[Family], config: Any, world: World) -> dict[str, Any]:
    """Count the operations of a training step (of a round, where steps differ in what they update).

    Each costs some microseconds of Python and dispatch, whatever the size of its tensors: with
    small pictures on a fast GPU that is what a step takes.

    Returns:
        Their number, and the ten most frequent.
    """
    path = _Path(kind, config, World(device=world.device))
    path.run(path.round)  # the first step makes the optimizers' moments
    with _Counter() as counter:
        path.run(path.round)
    counts = counter.counts
    return {"operations": counts.total(), "most_frequent": dict(counts.most_common(10))}


def benchmark_loader(config: Any, layout: Layout, repeats: int) -> dict[str, Any]:
    """Images per second of the loader alone (filled RAM cache, this process) and of Pillow.

    Pillow does what the official code does for every image: decode, bicubic resize, crop, flip.
    """
    # In order, so that an epoch meets every image of both domains.
    changes = {"cache": "ram", "num_workers": 0, "serial": True}
    data = config.data.model_copy(update=changes)
    loader = build_loader(
        data,
        layout=layout,
        split="train",
        channels=config.channels,
        batch_size=config.train.batch_size,
        seed=0,
    )
    files = _files(data.root, layout)
    images_per_item = 1 if layout == "single" else 2
    size, crop = data.load_size, data.crop_size
    generator = np.random.default_rng(0)

    def with_pillow(number: int) -> int:
        for file in files[:number]:
            with Image.open(file) as image:
                picture = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            left, top = generator.integers(0, size - crop + 1, 2)
            picture = picture.crop((left, top, left + crop, top + crop))
            if generator.random() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            np.asarray(picture)
        return len(files[:number])

    def with_loader(number: int) -> int:
        images = images_per_item * config.train.batch_size
        batches = max(1, number // images)
        for _ in range(batches):
            next(loader)
        return batches * images

    rates: dict[str, list[float]] = {"pillow": [], "loader": []}
    for _ in range(loader.batches_per_epoch):
        next(loader)
    for _ in range(repeats):
        for name, work, number in (("pillow", with_pillow, 64), ("loader", with_loader, 1024)):
            start = time.perf_counter()
            done = work(number)
            rates[name].append(done / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"images_per_second": medians, "ratio": medians["loader"] / medians["pillow"]}
