"""Video files as frames and back, through PyAV: time, size, sound and colour as they were.

Frames become RGB and RGB becomes frames by the matrix and the range that the file states. swscale
does neither right by default: its fast path decodes 4:2:0 one to one and a half levels too dark,
and chroma of the full range comes out half a level too low on every path to 8 bits.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from core.errors import UserError

Pixels = npt.NDArray[np.uint8]

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
"""Suffix of a result -> FFmpeg's name of its container."""

_UNSPECIFIED_SPACE, _RGB_SPACE = 2, 0
_BT709, _BT601 = 1, 6
_LIMITED, _FULL = 1, 2
_HD_HEIGHT = 720
"""Pixels; an untagged video of this height or more is taken as BT.709, a smaller one as BT.601."""

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})
"""Files that are taken for videos, in lower case."""


def is_video(path: Path | str) -> bool:
    """Return whether a path is named like a video; addresses are none."""
    return isinstance(path, Path) and path.suffix.lower() in SUFFIXES


def import_av() -> Any:
    """Return PyAV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av  # noqa: PLC0415
    except ImportError:
        raise UserError("video needs PyAV: pip install -e '.[video]'") from None
    return av


class Frame(NamedTuple):
    """A frame as shown, upright."""

    time: int
    """In the clip's time base."""
    pixels: Pixels
    """RGB [H, W, 3]."""


@dataclass(frozen=True)
class Clip:
    """What a video file says about its first video stream.

    Attributes:
        path: the file.
        width: of upright frames, in pixels.
        height: of upright frames, in pixels.
        time_base: seconds of one unit of time stamps.
        rate: frames per second, on average.
        num_frames: as the file states, or its duration implies; 0 if unknown.
        pixel_aspect: width of a pixel over its height, upright; None if not stated.
        space: matrix of its colours, as FFmpeg numbers them; 2 is not stated.
        primaries: as FFmpeg numbers them.
        transfer: likewise.
        full_range: whether black is 0 and white 255, instead of 16 and 235.
        sounds: names of the codecs of its audio streams.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    num_frames: int
    pixel_aspect: Fraction | None
    space: int
    primaries: int
    transfer: int
    full_range: bool
    sounds: tuple[str, ...]

    @property
    def matrix(self) -> int:
        """The matrix that its colours are read and written by."""
        if self.space not in (_UNSPECIFIED_SPACE, _RGB_SPACE):
            return self.space
        return _BT709 if self.height >= _HD_HEIGHT else _BT601

    @property
    def pixel_format(self) -> str:
        """The format of results; 4:2:0 has no odd sizes."""
        return "yuv444p" if self.width % 2 or self.height % 2 else "yuv420p"


def open_clip(path: Path) -> Clip:
    """Read what a video file says, and its first frame.

    Raises:
        UserError: missing, no video, or damaged.
    """
    with _opened(path) as container:
        stream = _video(container, path)
        with _refusing(path):
            frame = next(container.decode(stream), None)
        if frame is None:
            raise UserError(f"{path}: holds no frames")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = (stream.duration or 0) * stream.time_base
        seconds = seconds or Fraction(container.duration or 0, import_av().time_base)
        aspect = stream.sample_aspect_ratio or None
        turned = frame.rotation % 180 != 0
        width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        return Clip(
            path,
            width,
            height,
            stream.time_base,
            rate,
            stream.frames or round(seconds * rate),
            1 / aspect if aspect and turned else aspect,
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
            int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj"),
            tuple(audio.codec_context.name for audio in container.streams.audio),
        )


def read_frames(clip: Clip, start: int = 0) -> Iterator[Frame]:
    """Decode a clip's frames in the order they are shown, and give those from number `start` on.

    Raises:
        UserError: damaged, or frames that change their size.
    """
    with _opened(clip.path) as container:
        stream = _video(container, clip.path)
        stream.thread_type = "AUTO"
        last = None
        with _refusing(clip.path):
            for number, frame in enumerate(container.decode(stream)):
                time = frame.pts
                if time is None:  # a bare stream has no time stamps
                    time = round(number / clip.rate / clip.time_base)
                if last is not None and time <= last:
                    raise UserError(f"{clip.path}: time runs backwards at frame {number}")
                last = time
                if number < start:
                    continue
                pixels = _to_rgb(frame, clip)
                if pixels.shape[:2] != (clip.height, clip.width):
                    raise UserError(f"{clip.path}: frame {number} has another size; split the clip")
                yield Frame(time, pixels)


def _to_rgb(frame: Any, clip: Clip) -> Pixels:
    matrix, range_ = clip.matrix, _FULL if clip.full_range else _LIMITED
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=range_,
        dst_color_range=_FULL,
        interpolation=_exact(),
    )
    # FFmpeg's rotation says how far a player is to turn the picture, counterclockwise.
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90)))


def _exact() -> int:
    """Return the flags by which swscale is right to less than a tenth of a level on average."""
    flags = import_av().video.reformatter.Interpolation
    return int(flags.ACCURATE_RND | flags.FULL_CHR_H_INT | flags.BICUBIC)


@contextmanager
def segment_writer(file: BinaryIO, clip: Clip, crf: int) -> Iterator[Callable[[Frame], None]]:
    """Write frames into a part of a result, video only, by the function that this yields.

    The format is NUT, which keeps any time base. There are no B-frames, so that parts follow one
    another without decoding times that run backwards.

    Args:
        file: to write to.
        clip: whose time, size and colour it has.
        crf: x264's constant rate factor.
    """
    with _written(file, "nut") as made:
        stream = _add_video(made, clip, crf)
        yield lambda frame: made.mux(stream.encode(_from_rgb(frame, clip)))
        made.mux(stream.encode(None))


@contextmanager
def _written(file: BinaryIO, container: str) -> Iterator[Any]:
    """Open a file to write a container into within."""
    av = import_av()
    made = av.open(file, "w", format=container)
    try:
        yield made
    except BaseException:
        with suppress(av.FFmpegError):  # what the disk refused it refuses again
            made.close()
        raise
    made.close()


def _add_video(container: Any, clip: Clip, crf: int) -> Any:
    """Add a stream with the clip's time, size and colour to a file that is written."""
    options = {"crf": str(crf), "bf": "0"}
    stream = container.add_stream("libx264", rate=clip.rate, options=options)
    stream.width, stream.height = clip.width, clip.height
    stream.pix_fmt = clip.pixel_format
    context = stream.codec_context
    context.time_base = clip.time_base
    if clip.pixel_aspect:
        context.sample_aspect_ratio = clip.pixel_aspect
    context.colorspace = clip.matrix if clip.space == _RGB_SPACE else clip.space
    context.color_range = _FULL if clip.full_range else _LIMITED
    context.color_primaries, context.color_trc = clip.primaries, clip.transfer
    return stream


def _from_rgb(frame: Frame, clip: Clip) -> Any:
    target = _FULL if clip.full_range else _LIMITED
    made = import_av().VideoFrame.from_ndarray(frame.pixels, format="rgb24")
    # Chroma of the full range is right by way of 12 bits only.
    steps = [f"{clip.pixel_format}12le"] if clip.full_range else []
    source = _FULL
    for pixel_format in [*steps, clip.pixel_format]:
        made = made.reformat(
            format=pixel_format,
            src_colorspace=clip.matrix,
            dst_colorspace=clip.matrix,
            src_color_range=source,
            dst_color_range=target,
            interpolation=_exact(),
        )
        source = target
    made.pts, made.time_base = frame.time, clip.time_base
    return made


def check_output(clip: Clip, output: Path) -> None:
    """Refuse, before any work, a result that could not be written in the end.

    Raises:
        UserError: a suffix of another container, or one that cannot hold the clip's sound.
    """
    if output.suffix.lower() not in CONTAINERS:
        raise UserError(f"--output {output}: a video is written as {', '.join(CONTAINERS)}")
    av = import_av()
    try:
        with av.open(io.BytesIO(), "w", format=CONTAINERS[output.suffix.lower()]) as made:
            with _opened(clip.path) as source:
                _add_streams(made, clip, 18, source)
            made.start_encoding()
    except (av.FFmpegError, ValueError):
        sounds = ", ".join(clip.sounds)
        raise UserError(
            f"--output {output}: {output.suffix} does not hold sound such as {clip.path} has "
            f"({sounds}); write .mkv instead"
        ) from None


def join(segments: Sequence[Path], clip: Clip, crf: int, container: str, file: BinaryIO) -> None:
    """Put segments and the clip's own sound into one file, without encoding again.

    Args:
        segments: in their order, made by `segment_writer` of this clip and crf.
        clip: what they are made of.
        crf: theirs.
        container: one of `CONTAINERS`.
        file: to write to.
    """
    with _written(file, container) as made, _opened(clip.path) as source:
        video, sounds = _add_streams(made, clip, crf, source)
        packets = heapq.merge(
            _video_packets(segments, clip, video), _sound_packets(source, sounds), key=_seconds
        )
        for packet in packets:
            made.mux(packet)


def _add_streams(made: Any, clip: Clip, crf: int, source: Any) -> tuple[Any, dict[int, Any]]:
    """Add video, and the sound of the source; return {stream of the source: stream} of the sound.

    The video's is as for encoding, though nothing is encoded: so headers are the segments' own.
    """
    video = _add_video(made, clip, crf)
    sounds = source.streams.audio
    return video, {stream.index: made.add_stream_from_template(stream) for stream in sounds}


def _seconds(packet: Any) -> float:
    return float(packet.dts * packet.time_base)


def _video_packets(segments: Sequence[Path], clip: Clip, stream: Any) -> Iterator[Any]:
    """Give the packets of all segments; each lasts until the next."""
    last = None
    for path in segments:
        with _opened(path) as container:
            for packet in container.demux(_video(container, path)):
                if packet.pts is None:  # the demuxer's last, which is empty
                    continue
                packet.dts = packet.pts  # without B-frames; NUT leaves most out
                packet.stream = stream
                if last is not None:
                    last.duration = packet.pts - last.pts
                    yield last
                last = packet
    if last is not None:
        last.duration = round(1 / clip.rate / last.time_base)
        yield last


def _sound_packets(source: Any, sounds: Mapping[int, Any]) -> Iterator[Any]:
    for packet in source.demux(list(source.streams.audio)) if sounds else ():
        if packet.dts is not None:
            packet.stream = sounds[packet.stream.index]
            yield packet


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file to read within.

    Raises:
        UserError: missing, or no video file.
    """
    with _refusing(path):
        container = import_av().open(str(path))
    with container:
        yield container


def _video(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise UserError(f"{path}: has no video, only sound or data")
    return container.streams.video[0]


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what FFmpeg says of a file into one line."""
    try:
        yield
    except import_av().FFmpegError as error:
        raise UserError(
            f"{path}: {error.strerror}; no video that FFmpeg reads, or damaged"
        ) from None
