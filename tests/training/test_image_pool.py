"""The history of generated images; the published traces are reference cases."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.checkpoints import store
from core.training.image_pool import ImagePool


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32).reshape(count, 1, 1, 1)


def run(pool: ImagePool, batches: list[int], first: int = 0) -> list[list[float]]:
    returned = []
    for count in batches:
        returned.append(pool.query(numbered(first, count)).flatten().tolist())
        first += count
    return returned


BATCHES = st.lists(st.integers(1, 4), min_size=1, max_size=20)


@given(size=st.integers(0, 5), seed=st.integers(0, 99), batches=BATCHES)
@settings(deadline=None, max_examples=50)
def test_what_comes_back_was_given(size: int, seed: int, batches: list[int]) -> None:
    pool = ImagePool(size, seed)
    seen = 0
    for count, returned in zip(batches, run(pool, batches), strict=True):
        assert len(returned) == count
        for place, number in enumerate(returned):
            newest = seen + place
            assert number <= newest
            if size == 0 or newest < size:
                assert number == newest  # nothing older is returned before the pool is full
        seen += count
    assert len(pool.images) == min(size, seen)
    assert len({image.item() for image in pool.images}) == len(pool.images)


@given(size=st.integers(0, 5), before=BATCHES, after=BATCHES)
@settings(deadline=None, max_examples=30)
def test_restored_pool_continues_identically(
    size: int, before: list[int], after: list[int]
) -> None:
    pool = ImagePool(size, seed=1)
    run(pool, before)
    state = pool.state_dict()
    expected = run(pool, after, first=1000)
    stream = io.BytesIO()
    torch.save(state, stream)  # the live pool went on: the state must not have
    restored = ImagePool(size, seed=2)
    restored.load_state_dict(torch.load(io.BytesIO(stream.getvalue()), weights_only=True))
    assert run(restored, after, first=1000) == expected


def test_state_passes_through_a_checkpoint_without_empty_slots(tmp_path: Path) -> None:
    pool = ImagePool(1000)
    pool.query(torch.zeros(1, 3, 16, 16))
    store.save({"pool": pool.state_dict()}, tmp_path / "c.pt")
    assert (tmp_path / "c.pt").stat().st_size < 20_000


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_images_are_never_stored(bad: float) -> None:
    pool = ImagePool(2, seed=0)
    for number in range(40):
        image = torch.full((1, 1, 2, 2), bad if number in (0, 5, 9) else 0.5)
        pool.query(image)
        assert all(image.abs().max() <= 1 for image in pool.images)


def test_returned_images_carry_no_gradient_and_stay_as_they_are() -> None:
    pool = ImagePool(1, seed=0)
    x = torch.ones(1, 1, 1, 1, requires_grad=True)
    assert not pool.query(x * 2).requires_grad
    kept = [pool.query(torch.full((1, 1, 1, 1), float(n))) for n in range(3, 30)]
    values = [image.item() for image in kept]
    assert any(value < n for n, value in enumerate(values, 3)), "an older image came back"
    pool.query(torch.full((1, 1, 1, 1), -1.0))
    assert [image.item() for image in kept] == values


def test_images_of_mixed_sizes() -> None:
    """One by one an older image of another size may come back; within a batch it cannot."""
    pool = ImagePool(2)
    sizes = [pool.query(torch.zeros(1, 1, n, n)).shape[-1] for n in range(1, 30)]
    assert any(size < n for n, size in enumerate(sizes, 1))
    for n in range(30, 60):
        assert pool.query(torch.zeros(3, 1, n, n)).shape == (3, 1, n, n)


def test_half_of_the_returned_are_older() -> None:
    pool = ImagePool(50, seed=3)
    returned = run(pool, [1] * 2050)
    older = sum(number != n for n, (number,) in enumerate(returned))
    assert older / 2000 == pytest.approx(0.5, abs=0.05)
