"""With channels_last, a training step convolves nothing in another layout, there and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.cpu import choices
from core.cpu.choices import Choices, Key, Ways
from core.cpu.layouts import FORMATS
from core.options import TrainOptions
from core.training.step import Stepper
from tests.small import TABLE, batch, family


class Layouts(TorchDispatchMode):
    """Notes what convolutions (and their gradients) are given in another layout."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.wrong: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (
            torch.ops.aten.convolution.default,
            torch.ops.aten.convolution_backward.default,
        ):
            image: Tensor = args[0]
            self.seen += 1
            # Of an image's few channels, or of a row of pixels, no layout matters.
            wide = image.shape[1] > 4 and min(image.shape[2:]) > 1
            if wide and not image.is_contiguous(memory_format=torch.channels_last):
                self.wrong.append(f"{func}: {tuple(image.shape)} {image.stride()}")
        return func(*args, **(kwargs or {}))


class LaidOut(Choices):
    """Leaves everything in its layout, and takes what is furthest from torch's own way beside."""

    def fastest(self, key: Key, ways: Ways) -> str:
        return next(iter(ways)) if set(ways) == set(FORMATS) else list(ways)[-1]


@pytest.fixture(autouse=True)
def _laid_out() -> Iterator[None]:
    before = choices.current()
    choices.use(LaidOut())
    yield
    choices.use(before)


@pytest.mark.parametrize("name", TABLE)
def test_channels_last_is_kept(name: str) -> None:
    train: dict[str, Any] = {"channels_last": True, "winograd": True}
    step = Stepper(family(name, train=train), TrainOptions(**train), torch.device("cpu"))
    images = batch(48)
    with Layouts() as layouts:
        step(images, 1)
    assert layouts.seen > 20
    assert not layouts.wrong
