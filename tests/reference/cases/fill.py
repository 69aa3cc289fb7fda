"""Deterministic weights and inputs for the reference values in this folder.

Every reference case names the official state-dict keys and shapes of a published
network. `fill` turns such a list into the same numbers everywhere, so a case needs no
stored weights: fill, load, run, compare with the stored outputs.
"""

import math
import zlib

import numpy as np


def _rng(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), seed])


def tensor(key: str, shape: list[int], seed: int = 0) -> np.ndarray:
    """One state-dict entry, float32 (int64 zero for `num_batches_tracked`)."""
    rng = _rng(key, seed)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    if key.endswith(".filt"):  # CUT's fixed blur filters: 3x3 halves, 4x4 doubles
        taps = {3: np.array([1.0, 2.0, 1.0]) / 4, 4: np.array([1.0, 3.0, 3.0, 1.0]) / 4}[shape[-1]]
        return np.broadcast_to(np.outer(taps, taps), shape).astype(np.float32)
    noise = rng.standard_normal(tuple(shape)).astype(np.float32)
    if key.endswith("running_var"):
        return (0.75 + 0.25 * np.tanh(noise)).astype(np.float32)
    if key.endswith(("running_mean", "bias", "beta", "_u", "_v")) or len(shape) == 0:
        return (0.1 * noise).astype(np.float32)
    if len(shape) == 1:  # the scale of a normalisation layer
        return (1.0 + 0.1 * noise).astype(np.float32)
    fan_in = math.prod(shape[1:])
    return (noise / math.sqrt(fan_in)).astype(np.float32)


def fill(spec: dict[str, list[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """A whole state dict from {official key: shape}."""
    return {key: tensor(key, shape, seed) for key, shape in spec.items()}


def image(name: str, shape: list[int], seed: int = 0) -> np.ndarray:
    """A smooth image batch in [-1, 1], float32, NCHW: low-frequency waves plus mild noise."""
    rng = _rng(name, seed)
    n, c, h, w = shape
    y, x = np.meshgrid(np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij")
    out = np.zeros(shape, dtype=np.float64)
    for i in range(n):
        for j in range(c):
            for _ in range(4):
                fy, fx = rng.uniform(-4, 4, size=2)
                height = rng.normal()
                out[i, j] += height * np.sin(2 * np.pi * (fy * y + fx * x) + rng.uniform(0, 6.28))
    out = np.tanh(0.5 * out) + 0.05 * rng.standard_normal(shape)
    return np.clip(out, -1, 1).astype(np.float32)


def noise(name: str, shape: list[int], seed: int = 0) -> np.ndarray:
    """Standard normal noise, float32 (latent vectors, style codes)."""
    return _rng(name, seed).standard_normal(tuple(shape)).astype(np.float32)
