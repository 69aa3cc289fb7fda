"""Translate a video, segment by segment: what is done when a process ends is not done again.

Until the end a folder `<result>.parts` stands beside the result, with the segments so far and the
job that they belong to. Sound is copied from the input.
"""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from core.errors import UserError, reading
from core.inference.batch_function import BatchFunction
from core.inference.styles import given
from core.inference.translator import Translator
from core.jobs.video_files import (
    CONTAINERS,
    Clip,
    Frame,
    Pixels,
    check_output,
    import_av,
    join,
    open_clip,
    read_frames,
    segment_writer,
)
from core.options import Direction
from core.runtime.distributed import World
from core.runtime.files import write_file

CRF = 18
"""x264's constant rate factor: 18 looks like its source, 23 is x264's default."""
_WORST = 51
_FEW = 0.9
"""Share of the frames that a file states below which it is said to be cut."""
BATCH_SIZE = 8
"""Frames in a pass."""


@dataclass
class Flicker:
    """How much frames differ from those before them, as the network gets and gives them.

    Attributes:
        num_frames: number of frames.
        num_pairs: neighbours that were compared: those of one segment.
        given: sum over pairs of the input's mean absolute difference, in levels of 255.
        made: likewise of the output's.
    """

    num_frames: int = 0
    num_pairs: int = 0
    given: float = 0.0
    made: float = 0.0

    def __add__(self, other: Flicker) -> Flicker:
        """Return the sum over the frames of both."""
        both = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Flicker(*(one + another for one, another in both))

    def __str__(self) -> str:
        """Say both means, and how they relate."""
        if not self.num_pairs:
            return "a single frame"
        given, made = self.given / self.num_pairs, self.made / self.num_pairs
        ratio = f", {made / given:.2f} times as much" if given else ""
        return (
            f"{self.num_frames} frames; from frame to frame the input changes by {given:.2f} of "
            f"255 levels, the output by {made:.2f}{ratio}"
        )


@dataclass(frozen=True)
class VideoJob:
    """A clip and what is to be made of it.

    Attributes:
        clip: the input.
        output: the result's file, of a suffix in `core.jobs.video_files.CONTAINERS`.
        translator: what translates.
        direction: by default the first there is.
        style: code [style_dim] for all frames; None in a family without styles.
        seed: of dropout, where it is active; the same for all frames.
        crf: x264's constant rate factor.
        batch_size: frames that go through the network together.
        segment_frames: frames of a segment; x264 starts anew at every 250th by itself.
    """

    clip: Clip
    output: Path
    translator: Translator
    direction: Direction | None = None
    style: Tensor | None = None
    seed: int = 0
    crf: int = CRF
    batch_size: int = BATCH_SIZE
    segment_frames: int = 250

    @property
    def parts(self) -> Path:
        """The folder of segments."""
        return self.output.with_name(f"{self.output.name}.parts")

    def segment(self, number: int) -> Path:
        """Return the file of a segment; its flicker is in a JSON file beside it."""
        return self.parts / f"{number:06d}.nut"

    def identity(self) -> dict[str, object]:
        """Return what has to be the same for segments to be of one result."""
        file, by = self.clip.path.stat(), self.translator
        return {
            "input": [str(self.clip.path.resolve()), file.st_size, file.st_mtime_ns],
            "checkpoint": [by.origin, by.precision, by.test_mode, by.tile],
            "direction": by.check_direction(self.direction),
            "style": None if self.style is None else zlib.crc32(self.style.numpy().tobytes()),
            "seed": self.seed,
            "encoding": [self.crf, self.segment_frames, import_av().__version__],
        }


def run(translator: Translator, args: Namespace, world: World) -> int:
    """Do what `scripts/translate.py` is asked for with a video as its input.

    Raises:
        UserError: options that do not fit a video or the checkpoint; as `translate_video`.
    """
    for option, value in (
        ("--format", args.format if args.format != "png" else None),
        ("--num-styles", args.num_styles),
        ("--white", args.white),
        ("--workers", args.workers),
        ("--gallery", args.gallery or None),
        ("--check", args.check or None),
        ("--engine", args.engine if args.engine != "local" else None),
        ("torchrun", world.size if world.size > 1 else None),
    ):
        if value is not None:
            raise UserError(f"{option} {value}: has no meaning for a video")
    if not isinstance(args.output, Path):
        raise UserError(f"--output {args.output}: a video is written to a file of this machine")
    if args.crf > _WORST:
        raise UserError(f"--crf {args.crf}: from 0 to {_WORST}")
    direction = translator.check_direction(args.direction)
    job = VideoJob(
        open_clip(args.input),
        args.output,
        translator,
        direction,
        _style(translator, direction, args),
        args.seed,
        args.crf,
        args.batch_size or BATCH_SIZE,
    )
    flicker = translate_video(job, overwrite=args.overwrite)
    print(f"{args.output}: {flicker or 'is there already; --overwrite makes it again'}")
    if flicker and flicker.num_frames < _FEW * job.clip.num_frames:
        # FFmpeg reads a cut Matroska file to its end without a word.
        print(
            f"{args.input}: states about {job.clip.num_frames} frames and holds "
            f"{flicker.num_frames}; it may have been cut",
            file=sys.stderr,
        )
        return 1
    return 0


def _style(translator: Translator, direction: Direction, args: Namespace) -> Tensor | None:
    """Return the one style of all frames: that of --style, or else the first of --seed."""
    if args.style:
        translator.require_styles("--style: ")
        codes = given(translator, args.style, direction).codes
        if len(codes) > 1:
            raise UserError(f"--style: {len(codes)} styles; a video takes one for all its frames")
        return codes[0]
    return translator.random_styles(1, args.seed)[0] if translator.has_styles else None


def translate_video(job: VideoJob, *, overwrite: bool = False) -> Flicker | None:
    """Translate a clip, going on where an earlier call has ended.

    Args:
        job: what to do.
        overwrite: replace a result that is there already, and segments of another job.

    Returns:
        How much the frames flicker; None if the result was there already.

    Raises:
        UserError: a damaged clip, a result that cannot be written, segments of another job, or
            another process at work on the same result.
    """
    check_output(job.clip, job.output)
    if job.output.exists() and not overwrite:
        return None
    with _locked(job):
        done = _done(job, overwrite)
        done += _translate_rest(job, len(done), sum(part.num_frames for part in done))
        segments = [job.segment(number) for number in range(len(done))]
        container = CONTAINERS[job.output.suffix.lower()]
        write = partial(join, segments, job.clip, job.crf, container)
        write_file(job.output, write, scratch=job.parts)
        shutil.rmtree(job.parts)
    return sum(done, Flicker())


def _translate_rest(job: VideoJob, number: int, start: int) -> list[Flicker]:
    """Write the segments from `number` on, of the frames from `start` on."""
    work = job.translator.batch_function(job.direction, job.style)
    frames = read_frames(job.clip, start)
    made = []
    with tqdm(total=job.clip.num_frames or None, initial=start, desc="video", unit="frame") as bar:
        while (first := next(frames, None)) is not None:
            part = chain([first], islice(frames, job.segment_frames - 1))
            made.append(_write_segment(job, work, part, job.segment(number)))
            number += 1
            bar.update(made[-1].num_frames)
    return made


def _write_segment(
    job: VideoJob, work: BatchFunction, frames: Iterator[Frame], path: Path
) -> Flicker:
    """Translate frames into a segment; it counts as done when its flicker is written."""
    flicker, last = Flicker(), None

    def write(file: BinaryIO) -> None:
        nonlocal last
        with segment_writer(file, job.clip, job.crf) as write_frame:
            while batch := list(islice(frames, job.batch_size)):
                results = work.translate([frame.pixels for frame in batch], job.seed)
                for frame, result in zip(batch, results, strict=True):
                    pair = frame.pixels, _as_rgb(result)
                    write_frame(Frame(frame.time, pair[1]))
                    flicker.num_frames += 1
                    if last is not None:
                        flicker.num_pairs += 1
                        flicker.given += _difference(last[0], pair[0])
                        flicker.made += _difference(last[1], pair[1])
                    last = pair

    write_file(path, write)
    write_file(_record(path), lambda file: file.write(json.dumps(asdict(flicker)).encode()))
    return flicker


def _as_rgb(result: Pixels) -> Pixels:
    """Return colours of a network's output [H, W, C]: gray is repeated, alpha left out."""
    return np.repeat(result, 3, axis=2) if result.shape[2] == 1 else result[..., :3]


def _difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _record(segment: Path) -> Path:
    return segment.with_suffix(".json")


@contextmanager
def _locked(job: VideoJob) -> Iterator[None]:
    """Hold the folder of segments within.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """
    try:
        job.parts.mkdir(parents=True, exist_ok=True)
        with FileLock(job.parts / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"{job.output}: another process is making it; wait for that one") from None


def _done(job: VideoJob, overwrite: bool) -> list[Flicker]:
    """Return the segments that an earlier call has finished, after checking whose they are.

    Raises:
        UserError: they are of another job.
    """
    identity, file = job.identity(), job.parts / "job.json"
    found = None
    if file.is_file():
        with reading(file):
            found = json.loads(file.read_text(encoding="utf-8"))
    if found != json.loads(json.dumps(identity)):
        if found is not None and not overwrite:
            raise UserError(
                f"{job.parts}: holds segments of another input, checkpoint or setting; finish that "
                "job, remove the folder, or add --overwrite"
            )
        for path in job.parts.glob("*.json"):
            path.unlink()
        write_file(file, lambda out: out.write(json.dumps(identity, indent=1).encode()))
    done: list[Flicker] = []
    while (record := _record(job.segment(len(done)))).is_file():
        with reading(record):
            done.append(Flicker(**json.loads(record.read_text(encoding="utf-8"))))
    return done
