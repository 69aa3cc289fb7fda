#!/usr/bin/env bash
# PyAV's VideoFrame.reformat (FFmpeg's swscale) turns RGB into full-range YUV whose chroma is cut off
# instead of rounded: half a level too low on average, up to a whole one. Limited range, from the
# same call, is rounded. Luma is right in both. By way of 12 bits full range is right, too.
#
# The guess was: both ranges round alike, the more so without any resampling (4:4:4).
#
# Why it matters: frames that go through a network come back as RGB. Half a level of both chroma
# planes is a cast towards green of the whole clip, and it adds up with every pass; a round trip
# that is meant to change nothing does not come within half a level of what went in.
#
# Versions: av 18.1.0 (its wheels carry FFmpeg), numpy 2.4.6, Python 3.11.
# Output seen on 2026-11-29 (mean of ours minus exact, for Y, Cb, Cr):
#   limited range: -0.01 +0.02 +0.02, largest 0.50
#   full range: -0.02 -0.44 -0.52, largest 0.99
#   full range by way of 12 bits: -0.00 -0.02 -0.02, largest 1.26
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "av==18.1.0" "numpy==2.4.6"
cat > show.py <<'PY'
import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

patches = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
rgb = patches.repeat(8, 0).repeat(8, 1)
red, green, blue = (rgb[..., i].astype(float) for i in range(3))
luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
blueness, redness = (blue - luma) / (2 * (1 - 0.0722)), (red - luma) / (2 * (1 - 0.2126))
exact = {
    ColorRange.MPEG: (16 + luma * 219 / 255, 128 + blueness * 224 / 255, 128 + redness * 224 / 255),
    ColorRange.JPEG: (luma, 128 + blueness, 128 + redness),
}


def planes(frame):
    return [
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].astype(float)
        for p in frame.planes
    ]


def converted(target, *formats):
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    source = ColorRange.JPEG
    for name in formats:
        frame = frame.reformat(
            format=name, src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709,
            src_color_range=source, dst_color_range=target,
        )
        source = target
    return [made - right for made, right in zip(planes(frame), exact[target], strict=True)]


def shown(title, apart):
    means = [float(plane.mean()) for plane in apart]
    largest = max(float(np.abs(plane).max()) for plane in apart)
    print(f"{title}: {' '.join(f'{m:+.2f}' for m in means)}, largest {largest:.2f}")
    return means


limited = shown("limited range", converted(ColorRange.MPEG, "yuv444p"))
full = shown("full range", converted(ColorRange.JPEG, "yuv444p"))
by_12 = shown("full range by way of 12 bits", converted(ColorRange.JPEG, "yuv444p12le", "yuv444p"))
if max(map(abs, limited)) > 0.2 or not all(-0.7 < mean < -0.3 for mean in full[1:]):
    raise SystemExit("changed: see the head of this file")
PY
venv/bin/python show.py
