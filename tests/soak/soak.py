"""Kill trainings at any moment, go back in them, and look for a lost step or a wrong bit.

python -m tests.soak.soak --kills 200 --backs 50 [--minutes 60]

Not part of the test suite: it takes some minutes of an idle core. After every kill -9 each
checkpoint that is there is compared with that of an unbroken run, in every bit; none that had been
written may be missing; and the next start has to go on from the newest one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.checkpoints import store
from scripts.train import main as train
from tests.processes import SERVER
from tests.runs import Tree, changed
from tests.training.test_matrix import MODELS, options

STEPS, EVERY = 16, 1


def draw_images(root: Path) -> Path:
    """A few pictures of noise in two domains."""
    generator = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        (root / folder).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


def digest(value: Any) -> str:
    """Of every bit of a checkpoint, the clock aside."""
    if isinstance(value, torch.Tensor):
        content = value.contiguous().flatten().view(torch.uint8) if value.numel() else value
        return hashlib.sha256(content.numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        rest = sorted((str(k), v) for k, v in value.items() if k != "elapsed_seconds")
        return hashlib.sha256(repr([(k, digest(v)) for k, v in rest]).encode()).hexdigest()
    if isinstance(value, list | tuple):
        return hashlib.sha256(repr([digest(v) for v in value]).encode()).hexdigest()
    return repr(value)


def serve(words: list[str]) -> None:
    """Be a training: `scripts/train.py` without the seconds that loading torch takes."""
    torch.set_num_threads(1)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(train(words))


class Soak:
    """One family's run, broken off again and again."""

    def __init__(self, family: str, folder: Path, data: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.run, self.config = folder / "run", folder / "config.yaml"
        self.found: Counter[str] = Counter()
        self.compared: dict[Path, int] = {}  # when what was compared already was written
        tree = changed(
            options(family, data),
            train={"num_steps": STEPS, "ema_decay": 0.9},
            checkpoint={"every": EVERY, "keep_last": 3, "keep_every": 10},
        )
        self.config.write_text(json.dumps(tree))
        unbroken = folder / "unbroken"
        whole: Tree = changed(tree, checkpoint={"keep_last": STEPS})
        (folder / "whole.yaml").write_text(json.dumps(whole))
        began = time.monotonic()
        process = self._start(unbroken, folder / "whole.yaml")
        process.join()
        assert process.exitcode == 0, "the unbroken run failed"
        self.seconds = time.monotonic() - began
        files = store.listed(unbroken / "checkpoints")
        self.expected = {store.step_of(path): self._digest(path) for path in files}

    @staticmethod
    def _digest(path: Path) -> str:
        return digest({k: v for k, v in store.load(path).items() if k != "config"})

    @staticmethod
    def _start(run: Path, config: Path, resume: str = "auto") -> Any:
        words = ["--config", config, "--run-dir", run, "--resume", resume, "--device", "cpu"]
        process = SERVER.Process(target=serve, args=([str(word) for word in words],))
        process.start()
        return process

    def break_off(self, *, back: bool) -> None:
        """Start, from an older checkpoint if asked to, and kill at a moment of chance."""
        there = store.listed(self.run / "checkpoints")
        resume, floor = "auto", max(map(store.step_of, there), default=0)
        if back and len(there) > 1:
            chosen = self.random.choice(there[1:])
            resume, floor = str(chosen), store.step_of(chosen)
            self.found["backs"] += 1
        process = self._start(self.run, self.config, resume)
        if self.random.random() < 0.8:  # the others are killed before they have trained
            self._wait_for_progress(process)
        process.join(self.random.uniform(0.0, 2 * EVERY * self.seconds / STEPS))
        if process.exitcode is None:
            process.kill()
            process.join()
            self.found["kills"] += 1
        elif process.exitcode != 0:
            self.found["failed starts"] += 1
        self.check(floor)
        if process.exitcode == 0:
            self.found["finished"] += 1
            shutil.rmtree(self.run)

    def _wait_for_progress(self, process: Any) -> None:
        """Wait until the training has written a checkpoint, or ended."""
        folder = self.run / "checkpoints"
        before = max((path.stat().st_mtime_ns for path in store.listed(folder)), default=0)
        while process.is_alive():
            files = store.listed(folder)
            with contextlib.suppress(OSError):  # pruned while we look
                if any(path.stat().st_mtime_ns > before for path in files):
                    return
            time.sleep(0.01)

    def check(self, floor: int) -> None:
        """Compare what is there with the unbroken run; nothing below `floor` may have been lost."""
        intact = 0
        for path in store.listed(self.run / "checkpoints"):
            step = store.step_of(path)
            written = path.stat().st_mtime_ns
            if self.compared.get(path) != written:
                if store.verify(path) is not None:
                    self.found["damaged"] += 1
                    continue
                self.compared[path] = written
                self.found["compared"] += 1
                self.found["wrong bits"] += self._digest(path) != self.expected[step]
            intact = max(intact, step)
        self.found["lost"] += intact < floor

    def finish(self) -> None:
        """Let the last run come to its end."""
        process = self._start(self.run, self.config)
        process.join()
        self.found["failed starts"] += process.exitcode != 0
        self.check(STEPS)
        self.found["finished"] += 1


def main() -> int:
    """Soak every family, print a table, and end with 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--backs", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60.0, help="of breaking off, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # A start then takes a tenth of a second, and the kills meet trainings instead of imports.
    SERVER.set_forkserver_preload(
        ["scripts.train", "core.training.launch", "tests.training.test_matrix"]
    )
    began = time.monotonic()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        data = draw_images(Path(name) / "data")
        for family in MODELS:
            folder = Path(name) / family
            folder.mkdir()
            soak = Soak(family, folder, data, args.seed)
            end = time.monotonic() + 60 * args.minutes / len(MODELS)
            kills, backs = args.kills // len(MODELS), -(-args.backs // len(MODELS))
            while time.monotonic() < end and (
                soak.found["kills"] < kills or soak.found["backs"] < backs
            ):
                soak.break_off(back=soak.found["backs"] * kills <= soak.found["kills"] * backs)
            soak.finish()
            print(family, ", ".join(f"{key} {value}" for key, value in soak.found.items()))
            total += soak.found
    minutes = (time.monotonic() - began) / 60
    bad = {key: total[key] for key in ("lost", "wrong bits", "damaged", "failed starts")}
    print(
        f"{total['kills']} kills and {total['backs']} goings-back in {minutes:.1f} minutes; "
        f"{total['compared']} checkpoints compared, {total['finished']} runs finished; "
        + ", ".join(f"{key} {value}" for key, value in bad.items())
    )
    return int(any(bad.values()))


if __name__ == "__main__":
    sys.exit(main())
