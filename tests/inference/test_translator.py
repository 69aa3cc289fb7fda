"""Padding to legal sizes, automatic tiles, directions and channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import core.inference.translator
import core.tiling.run
from core.errors import UserError
from core.inference.translator import Translator
from core.nn.padding import pad_to_multiple
from tests.small import family

CPU = torch.device("cpu")


@given(height=st.integers(1, 40), width=st.integers(1, 40), power=st.integers(0, 5))
@settings(deadline=None)
def test_padding_is_legal_least_and_cropped_back(height: int, width: int, power: int) -> None:
    multiple, minimum = 2**power, 8
    x = torch.rand(1, 2, height, width)
    padded, top, left = pad_to_multiple(x, multiple, minimum)
    expected = x.numpy()
    for axis, before in ((2, top), (3, left)):
        pads = [(0, 0)] * 4
        pads[axis] = before, padded.shape[axis] - x.shape[axis] - before
        expected = np.pad(expected, pads, mode="reflect" if x.shape[axis] > 1 else "edge")
    assert np.array_equal(padded.numpy(), expected)
    for side, new in zip((height, width), padded.shape[2:], strict=True):
        assert new % multiple == 0 or new == minimum
        assert max(side, minimum) <= new < max(side + multiple, minimum + 1)
    assert torch.equal(padded[..., top : top + height, left : left + width], x)


def test_tiles_by_themselves_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    translate = Translator(family("cyclegan"), CPU)
    x = torch.rand(1, 3, 48, 80) * 2 - 1
    whole = translate(x)
    seen: list[int] = []
    honest = core.inference.translator.run_tiled

    def watched(*args: object, tile: int, **kwargs: object) -> torch.Tensor:
        seen.append(tile)
        return honest(*args, tile=tile, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(core.inference.translator, "run_tiled", watched)
    monkeypatch.setattr(core.tiling.run, "AUTO_TILE", 32)
    assert torch.equal(translate(x), whole)
    assert seen == []
    asked: list[object] = []
    monkeypatch.setattr(core.tiling.run, "fits", lambda *_: asked.append(_))
    short = Translator(translate.family, CPU)
    for _ in range(2):
        torch.testing.assert_close(short(x), whole, rtol=0, atol=1e-5)
    assert seen == [32, 32]
    assert len(asked) == 1, "a size is asked for once"


def test_directions_and_channels_are_checked() -> None:
    translate = Translator(family("pix2pix"), CPU)
    with pytest.raises(UserError, match="only translates AtoB"):
        translate(torch.zeros(1, 3, 32, 32), "BtoA")
    with pytest.raises(UserError, match=r"takes 3 channel\(s\), got 1"):
        translate(torch.zeros(1, 1, 32, 32))


def test_published_test_mode_against_eval() -> None:
    built = family("pix2pix", {"norm": "batch", "dropout": True})
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    published, quiet = Translator(built, CPU), Translator(built, CPU, test_mode="eval")
    torch.manual_seed(0)
    first = published(x)
    torch.manual_seed(0)
    assert torch.equal(first, published(x))
    assert not torch.equal(first, published(x)), "dropout stays active"
    assert torch.equal(quiet(x), quiet(x))
    torch.testing.assert_close(quiet(x)[:1], quiet(x[:1]))
    with pytest.raises(UserError, match="--eval"):
        Translator(built, CPU, tile=16)(x)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16"])
def test_any_pil_mode(mode: str) -> None:
    image = Image.new("L", (13, 9), 100).convert(mode)
    result = Translator(family("cyclegan"), CPU)(image)
    assert result.size == (13, 9)
    assert result.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")


def test_one_and_four_channels() -> None:
    gray = {"input_nc": 1, "output_nc": 4, "lambda_identity": 0.0}
    translate = Translator(family("cyclegan", gray), CPU)
    assert translate(Image.new("RGB", (9, 7))).mode == "RGBA"
    assert translate(Image.new("RGBA", (9, 7)), "BtoA").mode == "L"


@pytest.mark.parametrize("name", ["munit", "drit"])
def test_reconstruction_in_the_own_style(name: str) -> None:
    translate = Translator(family(name), CPU)
    assert translate.reconstruction == "own style"
    net = translate.family
    x = torch.rand(2, 3, 24, 32) * 2 - 1
    for direction, back in (("AtoB", "BtoA"), ("BtoA", "AtoB")):
        for network in net.networks.values():
            network.eval()
        with torch.no_grad():
            expected = net.decode(net.encode_content(x, direction), net.encode_style(x, back), back)
        assert torch.allclose(translate.reconstruct(x, direction), expected, atol=1e-6)  # type: ignore[arg-type]
    odd = torch.rand(1, 3, 21, 35) * 2 - 1
    whole = translate.reconstruct(odd, "AtoB")
    assert whole.shape == odd.shape
    translate.tile = 32
    assert torch.allclose(translate.reconstruct(odd, "AtoB"), whole, atol=1e-4)


def test_reconstruction_there_and_back_or_none() -> None:
    translate = Translator(family("cyclegan"), CPU)
    x = torch.rand(1, 3, 24, 32) * 2 - 1
    assert translate.reconstruction == "there and back"
    there_and_back = translate(translate(x, "BtoA"), "AtoB")
    assert torch.equal(translate.reconstruct(x, "BtoA"), there_and_back)
    one_way = Translator(family("pix2pix"), CPU)
    assert one_way.reconstruction == ""
    with pytest.raises(UserError, match="only translates AtoB"):
        one_way.reconstruct(x, "AtoB")
