"""A user's own checkout of neural-style-pt or FastPhotoStyle beside ours, on the CPU, by turns.

None of that code is here: it is imported from the path that the user gives, in a process of its
own. Weights and pictures are noise, the same for both; neither matters to the time.
"""

from __future__ import annotations

import importlib
import io
import runpy
import sys
import tempfile
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from core.errors import UserError
from core.inference.speed import arrange
from core.nn.vgg import VGG, VGGDepth
from core.training.benchmark import interleaved, machine
from style.neural.benchmark import Iterations
from style.neural.config import Config as NeuralConfig
from style.neural.config import Run
from style.photo.cascade import PhotoWCT
from style.photo.config import PhotoConfig

FILES = {"neural-style-pt": "neural_style.py", "fastphotostyle": "photo_wct.py"}
"""What a checkout of each must hold."""
SIDE = 256
"""Pixels of both pictures of photo style."""


class PhotoTransfer:
    """The cascade on two square pictures: ours, or that of the checkout at a path."""

    def __init__(self, path: Path | None) -> None:
        self.device = torch.device("cpu")
        torch.manual_seed(0)
        ours = PhotoWCT().requires_grad_(False).eval()
        for layer in ours.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        coarse = torch.rand(2, 3, SIDE // 8, SIDE // 8)
        self._pictures = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)
        if path is None:
            arrange([ours], "auto")
            self._transfer: Any = ours
            return
        sys.path.insert(0, str(path))
        theirs = importlib.import_module("photo_wct").PhotoWCT().eval()
        theirs.load_state_dict(ours.state_dict())
        without = np.asarray([])
        self._transfer = lambda a, b: theirs.transform(a, b, without, without)

    @torch.no_grad()
    def measure(self, rounds: int) -> dict[str, float]:
        """Seconds of a transfer, and the mean of what it makes."""
        content, style = self._pictures.split(1)
        start, result = time.process_time(), Tensor()
        for _ in range(rounds):
            result = self._transfer(content, style)
        seconds = (time.process_time() - start) / rounds
        return {"processor_seconds": seconds, "mean_of_result": float(result.mean())}


class TheirIterations:
    """L-BFGS of a checkout of neural-style-pt at the size of a config's last scale."""

    def __init__(self, config: NeuralConfig, path: Path) -> None:
        self.device = torch.device("cpu")
        self._size, self._script = config.scales[-1].size, path / FILES["neural-style-pt"]
        self._kept = tempfile.TemporaryDirectory()
        self._folder = Path(self._kept.name)
        depth: VGGDepth = 16 if config.model.encoder.startswith("vgg16") else 19
        state = VGG(depth, "relu5_3" if depth == 16 else "relu5_4").state_dict()
        self._weights = self._folder / f"vgg{depth}.pth"
        torch.save(state, self._weights)
        noise = np.random.default_rng(0).integers(0, 256, (self._size * 3 // 4, self._size, 3))
        Image.fromarray(noise.astype(np.uint8)).save(self._folder / "noise.png")
        sys.path.insert(0, str(path))

    def measure(self, rounds: int) -> dict[str, float]:
        """Seconds of an iteration, without what comes before the first."""
        picture, taken = str(self._folder / "noise.png"), []
        honest = torch.optim.LBFGS.step

        def timed(self: Any, closure: Any) -> Any:
            start = time.process_time()
            result = honest(self, closure)
            taken.append(time.process_time() - start)
            return result

        sys.argv = [str(self._script), "-content_image", picture, "-style_image", picture]
        sys.argv += ["-model_file", str(self._weights), "-disable_check", "-gpu", "c"]
        sys.argv += ["-backend", "mkl", "-image_size", str(self._size), "-print_iter", "0"]
        sys.argv += ["-num_iterations", str(rounds), "-output_image", f"{picture}.out.png"]
        torch.optim.LBFGS.step = timed  # type: ignore[method-assign]
        try:
            with redirect_stdout(io.StringIO()):
                runpy.run_path(str(self._script), run_name="__main__")
        finally:
            torch.optim.LBFGS.step = honest  # type: ignore[method-assign]
        return {"processor_seconds": sum(taken) / rounds}


class OurIterations(Iterations):
    """Ours with the default options, by processor seconds."""

    def measure(self, rounds: int) -> dict[str, float]:
        """Seconds of an iteration."""
        start = time.process_time()
        super().measure(rounds)
        return {"processor_seconds": (time.process_time() - start) / rounds}


def benchmark_peer(
    peer: str, config: NeuralConfig | PhotoConfig, path: Path, repeats: int, rounds: int
) -> dict[str, Any]:
    """Measure the checkout at `path` and ours by turns, on the CPU.

    Args:
        peer: a key of `FILES`.
        config: of neural style, whose last scale counts, or of photo style.
        path: of the checkout.
        repeats: turns of each.
        rounds: iterations, or transfers, in a turn.

    Returns:
        What `core.training.benchmark.interleaved` finds.

    Raises:
        UserError: no such checkout, or a config of another method.
    """
    if not (path / FILES[peer]).is_file():
        raise UserError(f"{path}: no checkout of {peer} (lacks {FILES[peer]})")
    path = path.absolute()
    device = torch.device("cpu")
    if peer == "fastphotostyle" and isinstance(config, PhotoConfig):
        ways: dict[str, Any] = {
            "official": partial(PhotoTransfer, path),
            "ours": partial(PhotoTransfer, None),
        }
    elif peer == "neural-style-pt" and isinstance(config, NeuralConfig):
        ways = {
            "official": partial(TheirIterations, config, path),
            "ours": partial(OurIterations, config, Run(), device),
        }
    else:
        raise UserError(f"--peer {peer}: {config.name} is of {config.family}")
    return {**machine(device), **interleaved(ways, repeats, rounds)}
