"""Videos: what an identity keeps, what a second start goes on with, what is refused."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from core.errors import UserError
from core.inference.translator import Translator
from core.jobs.video import VideoJob, translate_video
from core.jobs.video_files import open_clip, read_frames
from tests.jobs.bulk.checkpoints import write_checkpoint
from tests.processes import Script, file_size_limit
from tests.small import family

av = pytest.importorskip("av", reason="needs PyAV: pip install -e '.[video]'")

BT709, UNSPECIFIED, BT601 = 1, 2, 6
LIMITED, FULL = 1, 2
LUMA = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114)}
"""Weights of red and blue (ITU-R BT.709-6 and BT.601-7)."""


def drawn(number: int, height: int, width: int) -> Any:
    """Smooth colours, and gray below, that move; RGB."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((x + number) / 17), np.cos(y / 13), np.sin((x + y) / 21)]
    image = 128 + 90 * np.stack(waves, axis=2)
    image[height // 2 :] = image[height // 2 :].mean(axis=2, keepdims=True)
    return image.round().astype(np.uint8)


def yuv(rgb: Any, space: int, full: bool) -> Any:
    """The standards' formula: uint8 [3, H, W]."""
    red, blue = LUMA[space]
    r, g, b = np.moveaxis(rgb / 255.0, 2, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)]
    if full:
        planes = [luma * 255, *(c * 255 + 128 for c in chroma)]
    else:
        planes = [luma * 219 + 16, *(c * 224 + 128 for c in chroma)]
    return np.stack(planes).round().clip(0, 255).astype(np.uint8)


def write_clip(
    path: Path,
    *,
    size: tuple[int, int] = (96, 128),
    num: int = 9,
    space: int = BT601,
    tag: int | None = None,
    full: bool = False,
    times: list[int] | None = None,
    turned: int = 0,
    codec: str = "aac",
    still: bool = False,
) -> Path:
    """Write a clip of 30000/1001 frames a second with a tone, almost without loss."""
    height, width = size
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", Fraction(30000, 1001), options={"crf": "1"})
        video.width, video.height, video.pix_fmt = width, height, "yuv444p"
        video.set_display_rotation(turned)
        context = video.codec_context
        context.time_base = Fraction(1, 30000)
        context.colorspace = space if tag is None else tag
        context.color_range = FULL if full else LIMITED
        context.sample_aspect_ratio = Fraction(4, 3)
        sound = container.add_stream(codec, 8000, layout="mono")
        tone = np.sin(np.arange(8000 * num // 30) / 4).astype(np.float32)[None] / 4
        noise = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        noise.sample_rate = 8000
        fifo = av.AudioFifo()
        fifo.write(noise)
        while (chunk := fifo.read(1024, partial=True)) is not None:
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))
        for number in range(num):
            planes = yuv(drawn(0 if still else number, height, width), space, full)
            frame = av.VideoFrame.from_ndarray(planes, "yuv444p")
            frame.time_base = context.time_base
            frame.pts = times[number] if times else 1001 * number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def about(path: Path) -> dict[str, Any]:
    """What a player goes by."""
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        rate, aspect = video.average_rate, video.sample_aspect_ratio
        packets = [packet for packet in container.demux(sound) if packet.size]
        heard = [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    first = frames[0]
    return {
        "rate": rate,
        "times": [frame.pts * frame.time_base for frame in frames],
        "aspect": aspect,
        "size": (first.height, first.width),
        "colour": (first.colorspace, first.color_range, first.color_primaries, first.color_trc),
        "sound": heard,
    }


def pixels(path: Path) -> Any:
    return np.array([frame.pixels for frame in read_frames(open_clip(path))]).astype(float)


def identity(watched: list[int] | None = None) -> Translator:
    """Hands frames back; the number of each batch is appended to `watched`."""
    built = family("cyclegan")

    def translate(images: torch.Tensor, direction: str) -> torch.Tensor:
        if watched is not None:
            watched.append(len(images))
        return images

    built.translate = translate
    return Translator(built, torch.device("cpu"))


def job(clip: Path, output: Path, translator: Translator | None = None, **options: Any) -> VideoJob:
    options = {"crf": 8, "segment_frames": 4, "batch_size": 3} | options
    return VideoJob(open_clip(clip), output, translator or identity(), **options)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {"space": BT601}),
        (".mp4", {"space": BT709, "full": True}),
        (".mov", {"space": BT601, "full": True}),
        (".mkv", {"space": BT709, "size": (95, 127)}),
        (".mp4", {"tag": UNSPECIFIED}),
        (".mp4", {"times": [3000 + 1001 * n + 100 * (n * n % 7) for n in range(9)]}),
    ],
)
def test_what_an_identity_keeps(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    clip, output = write_clip(tmp_path / f"in{suffix}", **options), tmp_path / f"out{suffix}"
    translate_video(job(clip, output))
    given, made = about(clip), about(output)
    if "times" in options:  # the average depends on how long the last frame is said to last
        given["rate"] = made["rate"]
    assert made == given
    true = np.array([drawn(n, *options.get("size", (96, 128))) for n in range(9)]).astype(float)
    for path in (clip, output):
        assert np.abs((pixels(path) - true).mean(axis=(0, 1, 2))).max() < 0.3, path
    assert sorted(path.name for path in tmp_path.iterdir()) == [clip.name, output.name]


def test_a_clip_filmed_upright_is_seen_upright(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", turned=90)
    true = np.array([np.rot90(drawn(n, 96, 128)) for n in range(9)]).astype(float)
    assert np.abs(pixels(clip) - true).mean() < 2
    translate_video(job(clip, tmp_path / "out.mp4"))
    made = about(tmp_path / "out.mp4")
    assert (made["size"], made["aspect"]) == ((128, 96), Fraction(3, 4))
    assert np.abs(pixels(tmp_path / "out.mp4") - true).mean() < 3


def test_a_second_start_goes_on(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4")
    whole = translate_video(job(clip, tmp_path / "whole.mp4"))
    stopped = identity()
    honest = stopped.family.translate
    calls: list[int] = []

    def until_the_third(images: torch.Tensor, direction: str) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(images, direction)  # type: ignore[arg-type]

    stopped.family.translate = until_the_third  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        translate_video(job(clip, tmp_path / "out.mp4", stopped))
    assert calls == [3, 1, 3], "the first segment of four is done"
    watched: list[int] = []
    assert translate_video(job(clip, tmp_path / "out.mp4", identity(watched))) == whole
    assert watched == [3, 1, 1]
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert translate_video(job(clip, tmp_path / "out.mp4", identity(watched))) is None
    assert watched == [3, 1, 1], "nothing left to do"
    assert whole is not None and (whole.num_frames, whole.num_pairs) == (9, 6)
    assert str(whole).endswith(f"{whole.given / 6:.2f}, 1.00 times as much")


@pytest.mark.parametrize("name", ["munit", "pix2pix"])
def test_what_stands_still_does_not_flicker(name: str, tmp_path: Path, script: Script) -> None:
    """One style, and one draw of dropout, for all frames."""
    model = {"norm": "batch", "dropout": True} if name == "pix2pix" else {}
    checkpoint = write_checkpoint(tmp_path / "c.pt", name, model)
    clip = write_clip(tmp_path / "in.mp4", still=True, num=4)
    words = ("--checkpoint", checkpoint, "--input", clip, "--output", tmp_path / "out.mp4")
    done = script("translate", *words, "--seed", 3)
    assert done.returncode == 0, done.stderr
    (change,) = re.findall(r"the output by (\d+\.\d+)", done.stdout)
    assert float(change) < 0.5
    assert "is there already" in script("translate", *words).stdout
    done = script("translate", *words, "--num-styles", 2)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --num-styles 2: has no meaning for a video\n",
    )


def test_a_cut_clip_and_a_full_disk(tmp_path: Path, script: Script) -> None:
    checkpoint = write_checkpoint(tmp_path / "c.pt", "cyclegan")
    content = write_clip(tmp_path / "in.mkv", num=40).read_bytes()
    (tmp_path / "in.mkv").write_bytes(content[: len(content) // 2])
    words = ("--checkpoint", checkpoint, "--input", tmp_path / "in.mkv", "--output")
    with file_size_limit(3000):
        done = script("translate", *words, tmp_path / "out.mp4")
    assert done.returncode == 2 and "cannot be written (File too large)" in done.stderr
    done = script("translate", *words, tmp_path / "out.mp4")
    assert done.returncode == 1 and "it may have been cut" in done.stderr
    assert (tmp_path / "out.mp4").exists()


def test_what_is_refused_in_one_line(tmp_path: Path) -> None:
    clip, output = write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text.mp4: .* or damaged"):
        open_clip(tmp_path / "text.mp4")
    with pytest.raises(UserError, match=r"none\.mp4: No such file"):
        open_clip(tmp_path / "none.mp4")
    with pytest.raises(UserError, match=r"a video is written as \.mp4, \.mkv, \.mov"):
        translate_video(job(clip, tmp_path / "out.avi"))
    with pytest.raises(UserError, match=r"sound such as .* has \(\w*opus\); write \.mkv instead"):
        translate_video(
            job(write_clip(tmp_path / "v.mkv", codec="libopus", num=2), tmp_path / "out.mov")
        )
    parts = job(clip, output).parts
    parts.mkdir()
    with (
        FileLock(parts / ".lock"),
        pytest.raises(UserError, match="another process is making it"),
    ):
        translate_video(job(clip, output))
    (parts / "job.json").write_text("{}")
    with pytest.raises(UserError, match="of another input, checkpoint or setting"):
        translate_video(job(clip, output))
    translate_video(job(clip, output), overwrite=True)
    assert about(output)["times"] == about(clip)["times"]
