"""Kill jobs of scripts/translate.py at any moment, and look for a picture that is lost or wrong.

python -m tests.soak.translate --pictures 20000 --kills 40

Not part of the test suite. Killed with signal 9 are workers, the processes that run the network,
and those that watch these, with one process and with two. At the end every result has to be there,
with the bytes of an unbroken run, and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scripts.translate import main as translate
from tests.jobs.bulk.checkpoints import write_checkpoint
from tests.processes import SERVER

SIDE = 16


def serve(words: list[str], rank: int, size: int) -> None:
    """Be one process of a job, as torchrun starts it."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(translate(words))


def draw_pictures(folder: Path, number: int) -> None:
    """Pictures of noise, a thousand in a folder."""
    generator = np.random.default_rng(0)
    for i in range(number):
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, compress_level=1)


def descendants(pid: int) -> list[int]:
    """Processes below one, parents first."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        children = below.get(todo.pop(0), [])
        found += children
        todo += children
    return found


def lines(output: Path) -> list[str]:
    """Names in the manifest, as often as they stand there."""
    found = []
    for path in output.glob(".translate/done-*.jsonl"):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line)["name"])
    return found


class Job:
    """A job that is started again and again."""

    def __init__(self, words: list[str], output: Path, seed: int) -> None:
        self.words, self.output, self.random = words, output, random.Random(seed)
        self.processes: list[Any] = []
        self.kills: Counter[str] = Counter()

    def start(self, size: int) -> None:
        """Start one process or several."""
        self.processes = [
            SERVER.Process(target=serve, args=([*self.words, str(self.output)], rank, size))
            for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def end(self) -> list[int]:
        """Wait for all, and return their exit codes."""
        for process in self.processes:
            process.join()
        return [process.exitcode for process in self.processes]

    def kill_one(self) -> None:
        """Kill something; what torchrun would end then is ended."""
        victim = self.random.choice(self.processes)
        below = descendants(victim.pid)
        kind = self.random.choice(["worker", "process", "driver"])
        target = victim.pid
        if kind == "worker" and below:
            target = below[-1]
        elif kind == "process" and len(self.processes) > 1 and below:
            target = below[0]
        else:
            kind = "driver"
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
        self.kills[kind] += 1
        if kind == "driver":
            for process in self.processes:
                process.terminate()
        if kind != "worker":
            self.end()

    @property
    def runs(self) -> bool:
        """Whether all processes are at work."""
        return bool(self.processes) and all(process.is_alive() for process in self.processes)


def recorded_bytes(output: Path) -> int:
    """How far the manifest has grown."""
    return sum(path.stat().st_size for path in output.glob(".translate/done-*.jsonl"))


def soak(job: Job, kills: int, seconds: float) -> None:
    """Kill as often as asked for, about evenly over the `seconds` of a job, then let it end."""
    while sum(job.kills.values()) < kills:
        if not job.runs:
            job.end()
            job.start(job.random.choice([1, 2]))
        before = recorded_bytes(job.output)
        if job.random.random() < 0.8:  # the others are killed before they have done anything
            while job.runs and recorded_bytes(job.output) == before:
                time.sleep(0.05)
        deadline = time.monotonic() + job.random.uniform(0, seconds / kills)
        while job.runs and time.monotonic() < deadline:
            time.sleep(0.05)
        if job.runs:
            job.kill_one()
        elif all(code == 0 for code in job.end()):
            return  # done before all kills
    job.end()
    job.start(2)
    codes = job.end()
    assert codes == [0, 0], codes


def results(output: Path) -> dict[str, bytes]:
    """{name: content} of everything but the manifest."""
    files = (path for path in output.rglob("*") if path.is_file())
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in files
        if ".translate" not in path.parts
    }


def main() -> None:
    """Draw, run unbroken, soak, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--kills-each", type=int, default=40, help="of one job, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_pictures(folder / "in", args.pictures)
        checkpoint = write_checkpoint(folder / "c.pt", "cyclegan", {"ngf": 1})
        words = ["--checkpoint", str(checkpoint), "--input", str(folder / "in")]
        words += ["--device", "cpu", "--workers", "1", "--output"]
        unbroken = Job(words, folder / "unbroken", args.seed)
        began = time.monotonic()
        unbroken.start(1)
        assert unbroken.end() == [0]
        seconds = time.monotonic() - began
        print(f"unbroken: {seconds:.0f} s", flush=True)
        expected = results(folder / "unbroken")
        killed: Counter[str] = Counter()
        while killed.total() < args.kills:
            job = Job(words, folder / f"out{killed.total()}", args.seed + killed.total())
            soak(job, min(args.kills - killed.total(), args.kills_each), seconds)
            killed += job.kills
            compare(job.output, expected, args.pictures)
            print(f"{dict(killed)}: {len(expected)} results, all there and right", flush=True)


def compare(output: Path, expected: dict[str, bytes], pictures: int) -> None:
    """Compare results with those of an unbroken run, and the manifest with their number."""
    found, recorded = results(output), Counter(lines(output))
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    wrong = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    assert not missing and not extra and not wrong, (missing, extra, wrong)
    assert len(recorded) == pictures, f"{len(recorded)} recorded"


if __name__ == "__main__":
    main()
