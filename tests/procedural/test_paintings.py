"""Procedural paintings."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from core.procedural.paintings import KINDS, PaintingKind, draw_painting


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_for_a_seed_in_every_size(kind: PaintingKind) -> None:
    large = draw_painting(kind, 256)
    assert large.shape == (256, 256, 3)
    assert large.dtype == np.uint8
    assert np.array_equal(large, draw_painting(kind, 256))
    small, other = draw_painting(kind, 128), draw_painting(kind, 256, seed=1)
    gray = [
        np.asarray(Image.fromarray(x).convert("L").resize((8, 8))) for x in (large, small, other)
    ]
    same, different = (np.corrcoef(gray[0].flat, x.flat)[0, 1] for x in gray[1:])
    assert same > 0.95
    assert different < 0.6


def test_kinds_differ_and_are_covered_in_paint() -> None:
    pictures = {kind: draw_painting(kind, 96) for kind in KINDS}
    assert len({picture.tobytes() for picture in pictures.values()}) == len(KINDS)
    for picture in pictures.values():
        assert picture.reshape(-1, 3).std(0).min() > 25
