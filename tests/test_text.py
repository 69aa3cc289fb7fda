"""Captions, their vectors, wrong captions and those in between."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.text import Vocabulary, interpolate, split_caption

CAPTIONS = ["blue hair red eyes", "red hair blue eyes", "green hair blue eyes"]


def test_vocabulary_of_captions() -> None:
    vocabulary = Vocabulary.learn(CAPTIONS)
    assert vocabulary.words == {"hair": ("blue", "green", "red"), "eyes": ("blue", "red")}
    assert vocabulary.size == 5
    assert vocabulary.encode(["red hair blue eyes"]).tolist() == [[0, 0, 1, 1, 0]]
    # In any order, of either case, and with attributes left out.
    assert vocabulary.encode(["Blue EYES red hair", "red eyes"]).tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("pink hair red eyes", r"unknown word 'pink'; known are: blue \| green \| red hair; "),
        ("blue nose", "unknown word 'nose'"),
        ("green eyes", "unknown word 'green'"),
        ("blue hair red", "pairs of a value and an attribute"),
        ("blue hair red hair", "each attribute once"),
        ("", "pairs of a value"),
    ],
)
def test_captions_that_are_refused(caption: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Vocabulary.learn(CAPTIONS).encode([caption])


def test_captions_without_a_difference_are_refused() -> None:
    with pytest.raises(UserError, match="no wrong text"):
        Vocabulary.learn(["red hair", "red hair"])
    with pytest.raises(UserError, match="'round glasses': no other caption"):
        Vocabulary.learn(["red hair", "blue hair", "round glasses"])


def test_wrong_captions_differ_in_each_attribute_about_as_often() -> None:
    torch.manual_seed(0)
    vocabulary = Vocabulary.learn(CAPTIONS)
    right = vocabulary.encode(["blue hair red eyes"] * 6000)
    wrong = vocabulary.mismatched(right)
    counts = Counter(map(tuple, wrong.tolist()))
    blue, green, red = ([float(i == j) for j in range(3)] for i in range(3))
    same, other = [0.0, 1.0], [1.0, 0.0]
    # No change at all happens in a quarter of the draws; then either attribute changes.
    expected = {(*blue, *other): 3 / 8}
    expected |= {(*hair, *same): 3 / 16 for hair in (green, red)}
    expected |= {(*hair, *other): 1 / 8 for hair in (green, red)}
    assert counts.keys() == expected.keys()
    for caption, share in expected.items():
        assert counts[caption] / 6000 == pytest.approx(share, abs=0.03)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 10**6))
def test_wrong_captions_name_the_same_attributes(lengths: list[int], seed: int) -> None:
    lengths[0] += 1
    words = {f"a{i}": tuple(f"v{j}" for j in range(n)) for i, n in enumerate(lengths)}
    vocabulary = Vocabulary(words)
    torch.manual_seed(seed)
    captions = []
    for _ in range(8):
        kept = ["a0", *(name for name in list(words)[1:] if torch.rand(()) < 0.5)]
        values = [words[name][int(torch.randint(len(words[name]), ()))] for name in kept]
        captions.append(" ".join(f"{v} {n}" for v, n in zip(values, kept, strict=True)))
    right = vocabulary.encode(captions).double()
    wrong = vocabulary.mismatched(right)
    assert wrong.dtype == right.dtype
    assert (wrong != right).any(dim=1).all()
    for one, other in zip(right.split(lengths, 1), wrong.split(lengths, 1), strict=True):
        assert torch.equal(one.sum(dim=1), other.sum(dim=1))


def test_interpolated_captions() -> None:
    conditions = torch.eye(5)
    between = interpolate(conditions, 0.25)
    assert between.tolist() == [[0.25, 0, 0.75, 0, 0], [0, 0.25, 0, 0.75, 0]]


def test_split_caption() -> None:
    assert split_caption("Blue hair  red eyes") == {"hair": "blue", "eyes": "red"}
