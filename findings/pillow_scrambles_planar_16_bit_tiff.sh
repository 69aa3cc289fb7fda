#!/usr/bin/env bash
# Pillow opens an uncompressed TIFF of 16-bit RGB whose channels lie in planes of their own
# (PlanarConfiguration 2, as scanners, microscopes and tifffile write them) without an error or a
# warning, and its pixels are wrong nearly everywhere: by up to the whole range. The same picture
# with deflate compression, or with 8 bits, or with interleaved channels, comes out right.
#
# The guess was: right, or refused. Pillow shows 16-bit colours by their high bytes, and a wrong
# layout of planes would be an UnidentifiedImageError as for five channels.
#
# Why it matters: such a file trains a network on noise in silence; thumbnails and galleries look
# like a bad scan. Reading it with tifffile and comparing tells.
#
# Versions: Pillow 12.3.0 and 13.0.0, tifffile 2026.3.3, NumPy 2, Python 3.11, Linux x86-64.
# Output seen on 2026-11-28:
#   Pillow 12.3.0: uint8 plain right; uint8 deflate right; uint16 plain wrong in 99.7 %; uint16 deflate right
#   Pillow 13.0.0: uint8 plain right; uint8 deflate right; uint16 plain wrong in 99.7 %; uint16 deflate right
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "numpy<3" "tifffile==2026.3.3"
for version in 12.3.0 13.0.0; do
  venv/bin/pip install -q --no-deps --target "pillow-$version" "pillow==$version"
done
cat > show.py <<'PY'
import numpy as np
import PIL
import tifffile
from PIL import Image

rng = np.random.default_rng(0)
said = []
wrong = {}
for dtype, top in (("uint8", 256), ("uint16", 65536)):
    planes = rng.integers(0, top, (3, 20, 24)).astype(dtype)
    shown = planes.transpose(1, 2, 0)
    if dtype == "uint16":
        shown = (shown >> 8).astype("uint8")  # what Pillow shows of 16-bit colours
    for compression in (None, "zlib"):
        tifffile.imwrite(
            "planes.tif", planes, photometric="rgb", planarconfig="separate",
            compression=compression,
        )
        assert np.array_equal(tifffile.imread("planes.tif"), planes)
        with Image.open("planes.tif") as image:
            share = float((np.asarray(image) != shown).mean())
        kind = f"{dtype} {'deflate' if compression else 'plain'}"
        wrong[kind] = share
        said.append(f"{kind} {'right' if share == 0 else f'wrong in {100 * share:.1f} %'}")
print(f"Pillow {PIL.__version__}: {'; '.join(said)}")
if wrong.pop("uint16 plain") < 0.9 or any(wrong.values()):
    raise SystemExit("changed: see the head of this file")
PY
for version in 12.3.0 13.0.0; do
  PYTHONPATH="pillow-$version" venv/bin/python show.py
done
