"""Small image files for the tests of the data room."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(
    path: Path, width: int = 12, height: int = 10, mode: str = "RGB", seed: int = 0
) -> Path:
    """Noise of the given size; lossless where the extension is."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def write_plain(path: Path, value: int, width: int = 12, height: int = 10) -> Path:
    """One gray value everywhere, so that a test sees which file an image came from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (value, value, value)).save(path)
    return path


def write_unpaired(root: Path, num_a: int, num_b: int, split: str = "train", **size: int) -> Path:
    """A has gray values 0, 1, ..., B has 100, 101, ..."""
    for i in range(num_a):
        write_plain(root / f"{split}A" / f"{i:02d}.png", i, **size)
    for i in range(num_b):
        write_plain(root / f"{split}B" / f"{i:02d}.png", 100 + i, **size)
    return root


def write_idx(path: Path, pixels: np.ndarray) -> Path:
    """MNIST's format, gzipped where the name says so."""
    header = np.array([0x803, *pixels.shape], dtype=">u4").tobytes()
    data = header + pixels.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
